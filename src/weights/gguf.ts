import { InputError } from "../errors.ts";
import { openRegular, readExactly } from "../files/read.ts";
import type { Dtype } from "../tensor/dtype.ts";
import { dtypeBytes } from "../tensor/dtype.ts";
import { sizeOf } from "../tensor/tensor.ts";
import type { BlockFormat } from "./block-formats.ts";
import { blockFormats } from "./block-formats.ts";

/** There were fewer bytes than a file's header says. */
class OutOfBytesError extends Error {
  override readonly name = "OutOfBytesError";
}

/** Takes little-endian numbers and texts off the front of some bytes. */
class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** How many bytes were taken. */
  get at(): number {
    return this.#at;
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), true);
  }

  /** Text in UTF-8. Bytes that are not UTF-8 become replacement characters. */
  text(bytes: number): string {
    const start = this.#take(bytes);
    return new TextDecoder().decode(this.#bytes.subarray(start, start + bytes));
  }

  skip(bytes: number): void {
    this.#take(bytes);
  }

  /** @throws OutOfBytesError */
  #take(bytes: number): number {
    const start = this.#at;
    // Written so that NaN and infinity count as too many.
    if (!(start + bytes <= this.#bytes.length)) throw new OutOfBytesError();
    this.#at = start + bytes;
    return start;
  }
}

/** A tensor of a GGUF file: plain numbers, or blocks along its rows. */
export interface GgufTensor {
  readonly storage: Dtype | BlockFormat;
  /** In torch's order, [out, in]. */
  readonly shape: readonly number[];
  readonly file: string;
  readonly offset: number;
  readonly byteLength: number;
}

export interface GgufFile {
  /** What the file says it is, such as `lumina2`; some tools say nothing. */
  readonly architecture: string | undefined;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

/** A header is read in one piece; a real one of this model has 50 kB. */
const headerSizes = [1, 8, 64].map((mebibytes) => mebibytes * 2 ** 20);
const mostEntries = 100_000;
const mostDimensions = 4;
const longestString = 2 ** 20;
const defaultAlignment = 32;

/** The numbers that need no unpacking, by `ggml_type`. */
const plainTypes: ReadonlyMap<number, Dtype> = new Map([
  [0, "F32"],
  [1, "F16"],
  [30, "BF16"],
]);
/** Names of the types that are refused. */
const otherTypes: ReadonlyMap<number, string> = new Map([
  ...[9, 10, 11, 15].map((type, i) => [type, ["Q8_1", "Q2_K", "Q3_K", "Q8_K"][i]!] as const),
  ...["IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS"].map(
    (name, i) => [16 + i, name] as const,
  ),
  [29, "IQ1_M"],
  [34, "TQ1_0"],
  [35, "TQ2_0"],
  [39, "MXFP4"],
]);

/**
 * Reads the header of a GGUF file, version 2 or 3, and checks all that it says against the file.
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 *
 * @throws InputError naming the file, what is wrong and what to do
 */
export async function readGguf(path: string): Promise<GgufFile> {
  const { handle, file, size } = await openRegular(path, ".gguf file");
  try {
    for (const headerSize of headerSizes) {
      const bytes = new Uint8Array(Math.min(headerSize, size));
      await readExactly(handle, bytes, 0, path);
      try {
        return parse(new ByteReader(bytes), size, file, path);
      } catch (error) {
        if (!(error instanceof OutOfBytesError)) throw error;
        if (bytes.length === size) throw damaged(path, "its header is cut off");
      }
    }
    throw damaged(path, `its header is longer than ${headerSizes.at(-1)} bytes`);
  } finally {
    await handle.close();
  }
}

function parse(reader: ByteReader, size: number, file: string, path: string): GgufFile {
  if (reader.text(4) !== "GGUF") throw damaged(path, "it doesn't begin with GGUF");
  const version = reader.u32();
  if (version !== 2 && version !== 3) {
    throw new InputError(
      `${path} is GGUF version ${version}${version > 0xffff ? " (big-endian)" : ""}; ` +
        "Retake reads versions 2 and 3. Convert it with a current tool.",
    );
  }
  const tensorCount = count(reader, "tensors", path);
  const pairCount = count(reader, "metadata entries", path);
  const metadata = new Map<string, string | number | undefined>();
  for (let i = 0; i < pairCount; i++) {
    const key = string(reader, path);
    if (metadata.has(key)) throw damaged(path, `its metadata has "${key}" twice`);
    metadata.set(key, value(reader, reader.u32(), path));
  }
  const alignment = metadata.get("general.alignment") ?? defaultAlignment;
  if (typeof alignment !== "number" || ![8, 16, 32, 64, 128, 256, 4096].includes(alignment)) {
    throw damaged(path, `its alignment ${alignment} is impossible`);
  }
  const entries = new Map<string, Entry>();
  for (let i = 0; i < tensorCount; i++) {
    const name = string(reader, path);
    if (entries.has(name)) throw damaged(path, `it names tensor ${name} twice`);
    entries.set(name, entry(reader, name, path));
  }
  const dataStart = Math.ceil(reader.at / alignment) * alignment;
  const tensors = placeTensors(entries, { dataStart, alignment, size, file, path });
  const architecture = metadata.get("general.architecture");
  return { architecture: architecture === undefined ? undefined : String(architecture), tensors };
}

function count(reader: ByteReader, what: string, path: string): number {
  const found = reader.u64();
  if (found <= mostEntries) return Number(found);
  throw damaged(path, `it claims ${found} ${what}, and ${mostEntries} is the limit`);
}

function string(reader: ByteReader, path: string): string {
  const length = reader.u64();
  if (length <= longestString) return reader.text(Number(length));
  throw damaged(path, `it claims a string of ${length} bytes, and ${longestString} is the limit`);
}

/** Bytes of the metadata types that are numbers, by `gguf_metadata_value_type`. */
const numberBytes: Readonly<Record<number, number>> = {
  ...{ 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 },
};
const stringType = 8;
const listType = 9;
const u32Type = 4;

/** Text and u32 are kept; the rest is passed over. */
function value(reader: ByteReader, type: number, path: string): string | number | undefined {
  if (type === u32Type) return reader.u32();
  if (type === stringType) return string(reader, path);
  if (type !== listType) {
    const bytes = numberBytes[type];
    if (bytes === undefined) throw damaged(path, `its metadata has the unknown type ${type}`);
    reader.skip(bytes);
    return undefined;
  }
  const itemType = reader.u32();
  const items = reader.u64();
  const bytes = numberBytes[itemType];
  if (bytes !== undefined) reader.skip(Number(items) * bytes);
  else if (itemType === stringType) for (let i = 0n; i < items; i++) string(reader, path);
  else throw damaged(path, `its metadata has a list of the type ${itemType}`);
  return undefined;
}

type Entry = Pick<GgufTensor, "storage" | "shape" | "byteLength"> & { readonly begin: bigint };

function entry(reader: ByteReader, name: string, path: string): Entry {
  const rank = reader.u32();
  if (rank > mostDimensions) throw damaged(path, `tensor ${name} has ${rank} dimensions`);
  const reversed = Array.from({ length: rank }, () => Number(reader.u64()));
  const shape = reversed.toReversed();
  const type = reader.u32();
  const begin = reader.u64();
  const storage = plainTypes.get(type) ?? blockFormats.get(type);
  if (storage === undefined) {
    const formats = [...blockFormats.values()].map((format) => format.name).join(", ");
    throw new InputError(
      `${path}: tensor ${name} is stored as ${otherTypes.get(type) ?? `type ${type}`}; Retake ` +
        `computes F32, F16, BF16, ${formats}. Take another version of the file, such as Q4_K_M or Q8_0.`,
    );
  }
  const byteLength = bytesOf(storage, shape);
  if (byteLength === undefined) {
    throw damaged(path, `tensor ${name} has the impossible shape [${shape}]`);
  }
  return { storage, shape, byteLength, begin };
}

/** Undefined if there can be no such tensor. */
function bytesOf(storage: Dtype | BlockFormat, shape: readonly number[]): number | undefined {
  const size = sizeOf(shape);
  const bytes =
    typeof storage === "string"
      ? size * dtypeBytes[storage]
      : (size / storage.values) * storage.bytes;
  const wholeRows = typeof storage === "string" || (shape.at(-1) ?? 0) % storage.values === 0;
  return wholeRows && Number.isSafeInteger(size) && Number.isSafeInteger(bytes) && size > 0
    ? bytes
    : undefined;
}

/** Where the tensors of a file lie. */
interface DataSection {
  readonly dataStart: number;
  readonly alignment: number;
  readonly size: number;
  readonly file: string;
  readonly path: string;
}

/** Where each tensor lies: aligned, inside the file, none over another. */
function placeTensors(
  entries: ReadonlyMap<string, Entry>,
  { dataStart, alignment, size, file, path }: DataSection,
): Map<string, GgufTensor> {
  const tensors = new Map<string, GgufTensor>();
  let end = dataStart;
  const inOrder = [...entries].sort(([, a], [, b]) => (a.begin < b.begin ? -1 : 1));
  for (const [name, { begin, ...tensor }] of inOrder) {
    if (begin > BigInt(size)) throw damaged(path, `tensor ${name} begins after its end`);
    const offset = dataStart + Number(begin);
    if (offset % alignment !== 0) throw damaged(path, `tensor ${name} is not aligned`);
    if (offset < end) throw damaged(path, `tensor ${name} overlaps the one before it`);
    end = offset + tensor.byteLength;
    if (end > size) {
      throw damaged(path, `it is cut off: it has ${size} bytes, and tensor ${name} ends at ${end}`);
    }
    tensors.set(name, { ...tensor, file, offset });
  }
  return tensors;
}

function damaged(path: string, what: string): InputError {
  return new InputError(`${path} is not a whole GGUF file: ${what}. Download it again.`);
}
