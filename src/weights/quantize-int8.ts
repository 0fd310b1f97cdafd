import type { FileHandle } from "node:fs/promises";
import { open } from "node:fs/promises";
import { CanceledError, InputError } from "../errors.ts";
import { readExactly } from "../files/read.ts";
import type { WeightSpan } from "../onnx/graph.ts";
import { dtypeBytes } from "../tensor/dtype.ts";
import type { BlockLayout } from "./block-spans.ts";
import { blockSpan, blockTensors } from "./block-spans.ts";
import { converter } from "./convert.ts";
import type { DeriveOptions, WriteInto } from "./derived-file.ts";
import { openDerived } from "./derived-file.ts";
import { readF32 } from "./safetensors.ts";
import { byteLengthOf } from "./write-safetensors.ts";

/** Values that share a scale: as in Q8_0, small enough that one large value harms few others. */
const blockSize = 32;
const largestCode = 127;
/** What 0 is stored as. */
const zeroCode = 128;
const pieceBytes = 8 * 2 ** 20;

/**
 * Matrices rounded to 8 bits, symmetric, 32 values to a scale: `scale = max|w| / 127`. Written
 * once to the cache, at a little more than half the size of bf16.
 *
 * @param matrices [out, in] in F32, F16, BF16 or fp8; scales become part of the blocks
 * @param sources the files that they lie in
 * @throws InputError if a weight is NaN or infinite, or the cache can't be written
 */
export async function quantizeInt8(
  matrices: ReadonlyMap<string, WeightSpan>,
  sources: readonly string[],
  cacheFolder: string,
  options: DeriveOptions,
): Promise<Map<string, WeightSpan>> {
  const tensors = new Map(
    [...matrices].flatMap(([name, { shape }]) => blockTensors(name, layoutOf(shape))),
  );
  const derivation = {
    cacheFolder,
    kind: "int8",
    sources,
    tensors,
    async fill(write: WriteInto, signal: AbortSignal) {
      for (const [name, span] of matrices) {
        const handle = await open(span.file, "r");
        try {
          await quantizeMatrix(handle, name, span, write, signal);
        } finally {
          await handle.close();
        }
      }
    },
  };
  const derived = (await openDerived(derivation, options)).tensors;
  return new Map(
    [...matrices].map(([name, { shape }]) => [name, blockSpan(derived, name, layoutOf(shape))]),
  );
}

/** Bytes of a matrix [out, in] in 8 bits. */
export function int8Bytes(shape: readonly number[]): number {
  return blockTensors("", layoutOf(shape)).reduce(
    (bytes, [, layout]) => bytes + byteLengthOf(layout),
    0,
  );
}

function layoutOf(shape: readonly number[]): BlockLayout {
  return { shape, bits: 8, size: blockSize, hasOffsets: false };
}

async function quantizeMatrix(
  handle: FileHandle,
  name: string,
  span: WeightSpan,
  write: WriteInto,
  signal: AbortSignal,
): Promise<void> {
  const [rows, columns] = span.shape as [number, number];
  const rowBytes = columns * dtypeBytes[span.dtype];
  const count = Math.ceil(columns / blockSize);
  const scale = span.scale === undefined ? undefined : (await readF32(span.scale)).data;
  const rowsAtOnce = Math.max(1, Math.floor(pieceBytes / rowBytes));
  for (let row = 0; row < rows; row += rowsAtOnce) {
    if (signal.aborted) throw new CanceledError();
    const bytes = new Uint8Array(Math.min(rowsAtOnce, rows - row) * rowBytes);
    await readExactly(handle, bytes, span.offset + row * rowBytes, span.file);
    const values = singles(bytes, span);
    if (scale !== undefined)
      multiplyRows(values, columns, (i) => scale[scale.length > 1 ? row + i : 0]!);
    const { codes, scales } = quantizeRows(values, columns);
    if (!scales.every(Number.isFinite)) {
      throw new InputError(
        `${span.file} is damaged: tensor ${name} holds NaN or infinity. Download the file again.`,
      );
    }
    await write(name, row * count * blockSize, codes);
    await write(`${name}.scales`, row * count * 4, new Uint8Array(scales.buffer));
  }
}

/** Stored values as f32; what is NaN or infinite stays it. */
function singles(bytes: Uint8Array<ArrayBuffer>, { dtype }: WeightSpan): Float32Array {
  return new Float32Array(converter(dtype, "F32")(bytes).bytes.buffer);
}

function multiplyRows(
  values: Float32Array,
  columns: number,
  factorOf: (row: number) => number,
): void {
  for (let start = 0; start < values.length; start += columns) {
    const factor = factorOf(start / columns);
    for (let i = start; i < start + columns; i++) values[i]! *= factor;
  }
}

/**
 * Rows of `columns` values to codes [rows, count, 32] and scales [rows, count]. A scale that
 * is NaN or infinite tells of such a value in its block.
 */
function quantizeRows(
  values: Float32Array,
  columns: number,
): { codes: Uint8Array; scales: Float32Array<ArrayBuffer> } {
  const rows = values.length / columns;
  const count = Math.ceil(columns / blockSize);
  const codes = new Uint8Array(rows * count * blockSize).fill(zeroCode);
  const scales = new Float32Array(rows * count);
  for (let row = 0; row < rows; row++) {
    for (let block = 0; block < count; block++) {
      const start = row * columns + block * blockSize;
      const end = Math.min(start + blockSize, (row + 1) * columns);
      let largest = 0;
      for (let i = start; i < end; i++) {
        const size = Math.abs(values[i]!);
        // Written so that NaN wins over every number.
        if (!(size <= largest)) largest = size;
        if (Number.isNaN(size)) break;
      }
      const at = row * count + block;
      scales[at] = largest / largestCode;
      const scale = scales[at]!;
      if (scale === 0) continue;
      for (let i = start; i < end; i++) {
        // In f32, as others who round to such blocks: half a step is common among fp8's values.
        codes[at * blockSize + i - start] = Math.round(Math.fround(values[i]! / scale)) + zeroCode;
      }
    }
  }
  return { codes, scales };
}
