/**
 * One block format of GGUF files. A block holds `values` numbers in groups; a value is
 * `(code - centre) · scale - offset`, scale and offset its group's.
 * Source: ggml, `ggml-quants.c` (`dequantize_row_*`) and `ggml-common.h` (layouts).
 */
export interface BlockFormat {
  readonly name: string;
  readonly values: number;
  readonly bytes: number;
  /** Values that share a scale and an offset. */
  readonly group: number;
  /** Bits of a code as it is stored here: what is wider than 4 takes a byte. */
  readonly bits: 4 | 8;
  readonly centre: number;
  /** The code in the middle of all: counted from there, codes and offsets are smallest. */
  readonly middle: number;
  readonly hasOffsets: boolean;
  /** Takes one block apart, into `values` codes and `values / group` scales and offsets. */
  readonly unpack: (block: DataView, parts: BlockParts) => void;
}

export interface BlockParts {
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
  readonly offsets: Float32Array;
}

/** The formats by ggml's number for them; `ggml_type` in ggml.h. */
export const blockFormats: ReadonlyMap<number, BlockFormat> = new Map<number, BlockFormat>([
  [2, simple("Q4_0", 18, 4, 8, unpackQ4_0)],
  [3, simple("Q4_1", 20, 4, 0, unpackQ4_1)],
  [6, simple("Q5_0", 22, 8, 16, unpackQ5_0)],
  [7, simple("Q5_1", 24, 8, 0, unpackQ5_1)],
  [8, simple("Q8_0", 34, 8, 128, unpackQ8_0)],
  [
    12,
    {
      ...{ name: "Q4_K", values: 256, bytes: 144, group: 32, bits: 4 },
      ...{ centre: 0, middle: 8, hasOffsets: true, unpack: unpackQ4_K },
    },
  ],
  [
    13,
    {
      ...{ name: "Q5_K", values: 256, bytes: 176, group: 32, bits: 8 },
      ...{ centre: 0, middle: 16, hasOffsets: true, unpack: unpackQ5_K },
    },
  ],
  [
    14,
    {
      ...{ name: "Q6_K", values: 256, bytes: 210, group: 16, bits: 8 },
      ...{ centre: 32, middle: 32, hasOffsets: false, unpack: unpackQ6_K },
    },
  ],
]);

function simple(
  name: string,
  bytes: number,
  bits: 4 | 8,
  centre: number,
  unpack: BlockFormat["unpack"],
): BlockFormat {
  const hasOffsets = name.endsWith("_1");
  const middle = hasOffsets ? (bits === 4 ? 8 : 16) : centre;
  return { name, values: 32, bytes, group: 32, bits, centre, middle, hasOffsets, unpack };
}

/** The 16 bytes that hold 32 codes: lower halves first, then upper ones. */
function halves(block: DataView, at: number, codes: Uint8Array): void {
  for (let i = 0; i < 16; i++) {
    const byte = block.getUint8(at + i);
    codes[i] = byte & 15;
    codes[i + 16] = byte >> 4;
  }
}

function unpackQ4_0(block: DataView, { codes, scales }: BlockParts): void {
  scales[0] = block.getFloat16(0, true);
  halves(block, 2, codes);
}

function unpackQ4_1(block: DataView, { codes, scales, offsets }: BlockParts): void {
  scales[0] = block.getFloat16(0, true);
  offsets[0] = -block.getFloat16(2, true);
  halves(block, 4, codes);
}

/** Bit i of a 32-bit word is the fifth bit of code i. */
function fifthBits(block: DataView, at: number, codes: Uint8Array): void {
  const word = block.getUint32(at, true);
  for (let i = 0; i < 32; i++) codes[i] = codes[i]! | (((word >>> i) & 1) << 4);
}

function unpackQ5_0(block: DataView, { codes, scales }: BlockParts): void {
  scales[0] = block.getFloat16(0, true);
  halves(block, 6, codes);
  fifthBits(block, 2, codes);
}

function unpackQ5_1(block: DataView, { codes, scales, offsets }: BlockParts): void {
  scales[0] = block.getFloat16(0, true);
  offsets[0] = -block.getFloat16(2, true);
  halves(block, 8, codes);
  fifthBits(block, 4, codes);
}

function unpackQ8_0(block: DataView, { codes, scales }: BlockParts): void {
  scales[0] = block.getFloat16(0, true);
  for (let i = 0; i < 32; i++) codes[i] = block.getInt8(2 + i) + 128;
}

/** Two f16 numbers, then 8 scales and 8 offsets of 6 bits in 12 bytes. */
function groupScales(block: DataView, { scales, offsets }: BlockParts): void {
  const scale = block.getFloat16(0, true);
  const offset = block.getFloat16(2, true);
  const byte = (i: number) => block.getUint8(4 + i);
  for (let i = 0; i < 4; i++) {
    scales[i] = scale * (byte(i) & 63);
    offsets[i] = offset * (byte(i + 4) & 63);
    scales[i + 4] = scale * ((byte(i + 8) & 15) | ((byte(i) >> 6) << 4));
    offsets[i + 4] = offset * ((byte(i + 8) >> 4) | ((byte(i + 4) >> 6) << 4));
  }
}

/** 128 bytes of 8 groups: each 32 bytes hold one group in their lower halves, the next in their upper. */
function groupHalves(block: DataView, at: number, codes: Uint8Array): void {
  for (let pair = 0; pair < 4; pair++) {
    for (let i = 0; i < 32; i++) {
      const byte = block.getUint8(at + 32 * pair + i);
      codes[64 * pair + i] = byte & 15;
      codes[64 * pair + 32 + i] = byte >> 4;
    }
  }
}

function unpackQ4_K(block: DataView, parts: BlockParts): void {
  groupScales(block, parts);
  groupHalves(block, 16, parts.codes);
}

function unpackQ5_K(block: DataView, parts: BlockParts): void {
  const { codes } = parts;
  groupScales(block, parts);
  groupHalves(block, 48, codes);
  // Bit g of byte i is the fifth bit of value i of group g.
  for (let i = 0; i < 32; i++) {
    const bits = block.getUint8(16 + i);
    for (let group = 0; group < 8; group++) {
      codes[32 * group + i] = codes[32 * group + i]! | (((bits >> group) & 1) << 4);
    }
  }
}

/** Lower 4 bits in 128 bytes, upper 2 in 64, 16 signed scales, one f16 number. */
function unpackQ6_K(block: DataView, { codes, scales }: BlockParts): void {
  const scale = block.getFloat16(208, true);
  for (let i = 0; i < 16; i++) scales[i] = scale * block.getInt8(192 + i);
  for (let half = 0; half < 2; half++) {
    for (let i = 0; i < 32; i++) {
      const first = block.getUint8(64 * half + i);
      const second = block.getUint8(64 * half + 32 + i);
      const upper = block.getUint8(128 + 32 * half + i);
      const at = 128 * half + i;
      codes[at] = (first & 15) | ((upper & 3) << 4);
      codes[at + 32] = (second & 15) | (((upper >> 2) & 3) << 4);
      codes[at + 64] = (first >> 4) | (((upper >> 4) & 3) << 4);
      codes[at + 96] = (second >> 4) | ((upper >> 6) << 4);
    }
  }
}

/** Room for the parts of one block. */
export function partsFor({ values, group }: BlockFormat): BlockParts {
  return {
    codes: new Uint8Array(values),
    scales: new Float32Array(values / group),
    offsets: new Float32Array(values / group),
  };
}

/**
 * The values of whole blocks, each operation rounded to f32 as ggml does.
 *
 * @param bytes a multiple of the format's bytes
 */
export function dequantize(format: BlockFormat, bytes: Uint8Array): Float32Array<ArrayBuffer> {
  const count = bytes.length / format.bytes;
  const values = new Float32Array(count * format.values);
  const parts = partsFor(format);
  for (let block = 0; block < count; block++) {
    const at = bytes.byteOffset + block * format.bytes;
    format.unpack(new DataView(bytes.buffer, at, format.bytes), parts);
    for (let i = 0; i < format.values; i++) {
      const group = Math.floor(i / format.group);
      const scaled = Math.fround((parts.codes[i]! - format.centre) * parts.scales[group]!);
      values[block * format.values + i] = scaled - parts.offsets[group]!;
    }
  }
  return values;
}
