import type { FileHandle } from "node:fs/promises";
import { open } from "node:fs/promises";
import { CanceledError, InputError } from "../errors.ts";
import { readExactly } from "../files/read.ts";
import type { RoundingMethod, TrainDtype } from "../job/rounding.ts";
import type { WeightSpan } from "../onnx/graph.ts";
import { dtypeBytes, narrowTo, roundToDtype } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { sizeOf } from "../tensor/tensor.ts";
import type { Derivation, DeriveOptions, WriteInto } from "./derived-file.ts";
import { openDerived } from "./derived-file.ts";
import { roundRows, roundsColumns } from "./round-rows.ts";
import { widen } from "./safetensors.ts";

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
  /** Which of them are rounded; what else is stored wider than `dtype` is rounded to that alone. */
  readonly matrices: readonly string[];
  /** What rounds them; null leaves them in `dtype`. */
  readonly method: RoundingMethod | null;
  readonly dtype: TrainDtype;
  /** By matrix; read when the file is made. */
  readonly merged: ReadonlyMap<string, () => Promise<MergedPair>>;
  /** The files that all of it lies in, the merged pairs' among them. */
  readonly sources: readonly string[];
  readonly cacheFolder: string;
}

const pieceBytes = 8 * 2 ** 20;
/** How files name what the trainer held weights in. */
export const storedAs = { bf16: "BF16", f16: "F16", f32: "F32" } as const;

/**
 * Weights as a training held them, written once to the cache in its dtype, which holds the rounded
 * values exactly.
 *
 * @throws InputError if a weight is NaN or infinite, a row can't be scaled, or the cache can't be
 *   written
 */
export async function roundAsTrained(
  asked: RoundAsTrained,
  options: DeriveOptions,
): Promise<Map<string, WeightSpan>> {
  const { weights, method, dtype, merged, sources, cacheFolder } = asked;
  const rounded = new Set(
    asked.matrices.filter((name) => {
      return method !== null && roundsColumns(method, weights.get(name)!.shape.at(-1)!);
    }),
  );
  const stored = storedAs[dtype];
  const changed = new Map(
    [...weights].filter(
      ([name, span]) =>
        rounded.has(name) || merged.has(name) || (stored !== "F32" && span.dtype !== stored),
    ),
  );
  if (changed.size === 0) return new Map(weights);
  const derivation: Derivation = {
    cacheFolder,
    kind: "trained",
    detail: JSON.stringify([
      method,
      dtype,
      [...rounded].toSorted(),
      [...changed.keys()].toSorted(),
    ]),
    sources,
    tensors: new Map([...changed].map(([name, { shape }]) => [name, { dtype: stored, shape }])),
    async fill(write: WriteInto, signal: AbortSignal) {
      for (const [name, span] of changed) {
        const pair = await merged.get(name)?.();
        const handle = await open(span.file, "r");
        try {
          const round = rounded.has(name) ? method : null;
          await roundTensor({ handle, name, span, pair, method: round, dtype }, write, signal);
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
  readonly dtype: TrainDtype;
}

async function roundTensor(
  { handle, name, span, pair, method, dtype }: Piece,
  write: WriteInto,
  signal: AbortSignal,
): Promise<void> {
  const columns = span.shape.at(-1) ?? 1;
  const rows = sizeOf(span.shape) / columns;
  const rowBytes = columns * dtypeBytes[span.dtype];
  const stored = storedAs[dtype];
  const rowsAtOnce = Math.max(1, Math.floor(pieceBytes / rowBytes));
  for (let row = 0; row < rows; row += rowsAtOnce) {
    if (signal.aborted) throw new CanceledError();
    const count = Math.min(rowsAtOnce, rows - row);
    const bytes = new Uint8Array(count * rowBytes);
    await readExactly(handle, bytes, span.offset + row * rowBytes, span.file);
    const values = widen(bytes, span);
    if (span.dtype !== stored) roundToDtype(values, stored);
    if (pair !== undefined) {
      addProduct(values, pair, { row, count, columns });
      roundToDtype(values, stored);
    }
    if (method !== null) {
      roundRows(values, columns, { method, dtype }, (what) => unusable(span, name, what));
    }
    await write(name, row * columns * dtypeBytes[stored], narrowTo(values, stored));
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
