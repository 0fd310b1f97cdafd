import type { FileHandle } from "node:fs/promises";
import { open } from "node:fs/promises";
import { CanceledError, InputError } from "../errors.ts";
import { readExactly } from "../files/read.ts";
import type { Rounding } from "../job/rounding.ts";
import type { WeightSpan } from "../onnx/graph.ts";
import { dtypeBytes, narrowTo, roundToDtype } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { sizeOf } from "../tensor/tensor.ts";
import type { Derivation, DeriveOptions, WriteInto } from "./derived-file.ts";
import { openDerived } from "./derived-file.ts";
import { largestE4m3, nearestE4m3 } from "./float8.ts";
import { widen } from "./safetensors.ts";

export type RoundingMethod = NonNullable<Rounding["transformer"]>;

/** What is added to a matrix before it is rounded: B·A. */
export interface MergedPair {
  /** [rank, in] */
  readonly loraA: Tensor;
  /** [out, rank] */
  readonly loraB: Tensor;
}

export interface RoundAsTrained {
  /** All tensors of a component, by name, in F32, F16 or BF16. */
  readonly weights: ReadonlyMap<string, WeightSpan>;
  /** Which of them are rounded to 8 bits; what else is wider than bf16 becomes bf16. */
  readonly matrices: readonly string[];
  /** What rounds them; null leaves them in bf16. */
  readonly method: RoundingMethod | null;
  /** By matrix; read when the file is made. */
  readonly merged: ReadonlyMap<string, () => Promise<MergedPair>>;
  /** The files that all of it lies in, the merged pairs' among them. */
  readonly sources: readonly string[];
  readonly cacheFolder: string;
}

const pieceBytes = 8 * 2 ** 20;
/** torchao's scales are no smaller: the epsilon of f32. */
const smallestTorchaoScale = 2 ** -23;

/**
 * Weights as a training in bf16 held them, written once to the cache in bf16, which holds the
 * rounded values exactly. Sources: optimum-quanto 0.2.4 `absmax_optimizer.py`,
 * `library/quantize.py`, `library/qbytes_mm.py`; torchao 0.10.0 `quant_primitives.py`.
 *
 * @throws InputError if a weight is NaN or infinite, a row can't be scaled, or the cache can't be
 *   written
 */
export async function roundAsTrained(
  asked: RoundAsTrained,
  options: DeriveOptions,
): Promise<Map<string, WeightSpan>> {
  const { weights, method, merged, sources, cacheFolder } = asked;
  const rounded = new Set(method === null ? [] : asked.matrices);
  const changed = new Map(
    [...weights].filter(
      ([name, { dtype }]) => rounded.has(name) || merged.has(name) || dtype !== "BF16",
    ),
  );
  if (changed.size === 0) return new Map(weights);
  const derivation: Derivation = {
    cacheFolder,
    kind: "trained",
    detail: JSON.stringify([method, [...rounded].toSorted(), [...changed.keys()].toSorted()]),
    sources,
    tensors: new Map([...changed].map(([name, { shape }]) => [name, { dtype: "BF16", shape }])),
    async fill(write: WriteInto, signal: AbortSignal) {
      for (const [name, span] of changed) {
        const pair = await merged.get(name)?.();
        const handle = await open(span.file, "r");
        try {
          const round = rounded.has(name) ? method : null;
          await roundTensor({ handle, name, span, pair, method: round }, write, signal);
        } finally {
          await handle.close();
        }
      }
    },
  };
  const derived = (await openDerived(derivation, options)).tensors;
  return new Map([...weights].map(([name, span]) => [name, derived.get(name) ?? span]));
}

interface Piece {
  readonly handle: FileHandle;
  readonly name: string;
  readonly span: WeightSpan;
  readonly pair: MergedPair | undefined;
  readonly method: RoundingMethod | null;
}

async function roundTensor(
  { handle, name, span, pair, method }: Piece,
  write: WriteInto,
  signal: AbortSignal,
): Promise<void> {
  const columns = span.shape.at(-1) ?? 1;
  const rows = sizeOf(span.shape) / columns;
  const rowBytes = columns * dtypeBytes[span.dtype];
  const rowsAtOnce = Math.max(1, Math.floor(pieceBytes / rowBytes));
  for (let row = 0; row < rows; row += rowsAtOnce) {
    if (signal.aborted) throw new CanceledError();
    const count = Math.min(rowsAtOnce, rows - row);
    const bytes = new Uint8Array(count * rowBytes);
    await readExactly(handle, bytes, span.offset + row * rowBytes, span.file);
    const values = widen(bytes, span);
    roundToDtype(values, "BF16");
    if (pair !== undefined) {
      addProduct(values, pair, { row, count, columns });
      roundToDtype(values, "BF16");
    }
    if (method !== null) roundRows(values, columns, method, (what) => unusable(span, name, what));
    await write(name, row * columns * dtypeBytes.BF16, narrowTo(values, "BF16"));
  }
}

function unusable({ file }: WeightSpan, name: string, what: string): InputError {
  return new InputError(
    `${file} can't be rounded as in training: tensor ${name} ${what}. Download the file again, or leave the rounding away.`,
  );
}

/**
 * values += B·A for some rows. Sums run over the rank in f32, as the trainer's do; a product is
 * exact in a double, so each step rounds once, like a fused multiply-add.
 */
function addProduct(
  values: Float32Array,
  { loraA, loraB }: MergedPair,
  { row, count, columns }: { row: number; count: number; columns: number },
): void {
  const rank = loraA.shape[0]!;
  const sums = new Float32Array(columns);
  for (let i = 0; i < count; i++) {
    sums.fill(0);
    for (let k = 0; k < rank; k++) {
      const factor = loraB.data[(row + i) * rank + k]!;
      const down = k * columns;
      for (let j = 0; j < columns; j++) sums[j]! += factor * loraA.data[down + j]!;
    }
    for (let j = 0; j < columns; j++) values[i * columns + j]! += sums[j]!;
  }
}

/** Rounds bf16 values to 8 bits, row by row, and widens them again to bf16: exact in f32. */
export function roundRows(
  values: Float32Array,
  columns: number,
  method: RoundingMethod,
  fault: (what: string) => Error,
): void {
  for (let start = 0; start < values.length; start += columns) {
    const row = values.subarray(start, start + columns);
    let largest = 0;
    for (const value of row) {
      const size = Math.abs(value);
      // Written so that NaN wins over every number.
      if (!(size <= largest)) largest = size;
      if (Number.isNaN(size)) break;
    }
    if (!Number.isFinite(largest)) throw fault("holds NaN or infinity");
    const scale = roundBf16(largest / largestE4m3);
    if (method === "torchao") {
      scaleRow(row, Math.max(scale, smallestTorchaoScale));
    } else {
      if (scale === 0) throw fault("has a row of zeros, of which the trainer makes NaN");
      divideRow(row, scale);
    }
  }
}

/** quanto: w / s. */
function divideRow(row: Float32Array, scale: number): void {
  const codes = e4m3OfBf16();
  for (let i = 0; i < row.length; i++) row[i] = codes[bf16Bits(row[i]! / scale)]! * scale;
  roundToDtype(row, "BF16");
}

/** torchao: w · (1/s), the reciprocal in bf16. */
function scaleRow(row: Float32Array, scale: number): void {
  const codes = e4m3OfBf16();
  const inverse = roundBf16(1 / scale);
  for (let i = 0; i < row.length; i++) row[i] = codes[bf16Bits(row[i]! * inverse)]! * scale;
  roundToDtype(row, "BF16");
}

const single = new Float32Array(1);
const word = new Uint32Array(single.buffer);

/** The upper half of a number that was rounded to bf16 by way of f32, as PyTorch computes in bf16. */
function bf16Bits(value: number): number {
  single[0] = value;
  const bits = word[0]!;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

function roundBf16(value: number): number {
  word[0] = bf16Bits(value) << 16;
  return single[0]!;
}

let table: Float32Array | undefined;

/** The e4m3fn value of every bf16, by its bits. */
function e4m3OfBf16(): Float32Array {
  if (table !== undefined) return table;
  const words = Uint32Array.from({ length: 2 ** 16 }, (_, bits) => bits << 16);
  table = new Float32Array(words.buffer).map(nearestE4m3);
  return table;
}
