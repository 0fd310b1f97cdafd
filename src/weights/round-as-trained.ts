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
import { codesOfE4m3, largestE4m3, valuesOfE4m3 } from "./float8.ts";
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
    const end = start + columns;
    const largest = largestIn(values, start, end);
    if (!Number.isFinite(largest)) throw fault("holds NaN or infinity");
    const scale = roundBf16(largest / largestE4m3);
    if (method === "torchao") {
      scaleRow(values, start, end, Math.max(scale, smallestTorchaoScale));
    } else {
      if (scale === 0) throw fault("has a row of zeros, of which the trainer makes NaN");
      divideRow(values, start, end, scale);
    }
  }
}

/** The largest absolute value; NaN wins over every number. */
function largestIn(values: Float32Array, start: number, end: number): number {
  let largest = 0;
  for (let i = start; i < end; i++) {
    const size = Math.abs(values[i]!);
    if (!(size <= largest)) largest = size;
    if (Number.isNaN(size)) return size;
  }
  return largest;
}

/** quanto: w / s. */
function divideRow(values: Float32Array, start: number, end: number, scale: number): void {
  const products = productsWith(scale);
  for (let i = start; i < end; i++)
    values[i] = products[codeOfBf16[bf16Bits(values[i]! / scale)]!]!;
}

/** torchao: w · (1/s), the reciprocal in bf16. */
function scaleRow(values: Float32Array, start: number, end: number, scale: number): void {
  const products = productsWith(scale);
  const inverse = roundBf16(1 / scale);
  for (let i = start; i < end; i++)
    values[i] = products[codeOfBf16[bf16Bits(values[i]! * inverse)]!]!;
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

const valueOfCode = valuesOfE4m3();
const codeOfBf16 = codesOfE4m3();
const products = new Float32Array(valueOfCode.length);

/** bf16(q · s) for every code of q. */
function productsWith(scale: number): Float32Array {
  for (let code = 0; code < products.length; code++)
    products[code] = roundBf16(valueOfCode[code]! * scale);
  return products;
}
