import { CanceledError, InputError } from "../errors.ts";
import type { WeightSpan } from "../onnx/graph.ts";
import { GraphBuilder } from "../onnx/graph.ts";
import { hadamard } from "../onnx/hadamard.ts";
import { reshape } from "../onnx/layers.ts";
import { wholeMatrix } from "../onnx/linear.ts";
import { openSession } from "../onnx/session.ts";
import { cpuTarget } from "../onnx/target.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { BlockLayout } from "./block-spans.ts";
import { blockSpan, blockTensors } from "./block-spans.ts";
import type { DeriveOptions, WriteInto } from "./derived-file.ts";
import { openDerived } from "./derived-file.ts";
import { rowsOf } from "./rows-of.ts";
import { byteLengthOf } from "./write-safetensors.ts";

/**
 * Values that share a scale, as many as divide a row. On a CPU a product with blocks of 256 is 1.6
 * times as fast as one with blocks of 32; turned, the larger ones lose no more.
 */
const sizes = [256, 128, 64, 32];
/** What rows are turned by: a wider matrix takes longer and gains nothing. */
const widestTurn = 64;
/** Columns of one product: with 10240, where rows leave a core's nearest memory, it is a quarter slower. */
const widestPart = 5120;
const largestCode = 127;
/** What 0 is stored as. */
const zeroCode = 128;
const smallestNormal = 2 ** -126;
/** At a time: some 200 MB in all. */
const pieceValues = 8 * 2 ** 20;

/**
 * Matrices rounded to 8 bits, symmetric, `scale = max|w| / 127` in each block of a row, most of them
 * turned by Hadamard's matrix first. Written once to the cache, at a little more than half the size of bf16.
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
    detail: "turned",
    sources,
    tensors,
    async fill(write: WriteInto, signal: AbortSignal) {
      for (const [name, span] of matrices) await quantizeMatrix(name, span, write, signal);
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

/** Rows that no block divides are padded to small ones, and not turned. */
function layoutOf(shape: readonly number[]): BlockLayout {
  const columns = shape[1]!;
  const common = { shape, bits: 8, hasOffsets: false } as const;
  const size = sizes.find((one) => columns % one === 0);
  if (size === undefined) return { ...common, size: 32, parts: 1, turn: 1 };
  let parts = Math.ceil(columns / widestPart);
  while (columns % (parts * size) !== 0) parts++;
  return { ...common, size, parts, turn: Math.min(size, widestTurn) };
}

/** Rounds a matrix, some rows at a time. */
async function quantizeMatrix(
  name: string,
  span: WeightSpan,
  write: WriteInto,
  signal: AbortSignal,
): Promise<void> {
  const [rows, columns] = span.shape as [number, number];
  const { parts } = layoutOf(span.shape);
  const rowsAtOnce = Math.max(1, Math.floor(pieceValues / columns));
  for (let row = 0; row < rows; row += rowsAtOnce) {
    if (signal.aborted) throw new CanceledError();
    const some = rowsOf(span, row, Math.min(rowsAtOnce, rows - row));
    const { codes, scales, sums } = await roundRows(name, some);
    if (!sums.data.every(Number.isFinite)) {
      throw new InputError(
        `${span.file} is damaged: tensor ${name} holds NaN or infinity. Download the file again.`,
      );
    }
    const count = some.shape[0]!;
    for (let part = 0; part < parts; part++) {
      const first = (part * rows + row) / count;
      const own = (all: Float32Array) =>
        all.slice((part * all.length) / parts, ((part + 1) * all.length) / parts);
      const bytes = new Uint8Array(own(codes.data));
      const table = new Uint8Array(own(scales.data).buffer);
      await write(name, first * bytes.length, bytes);
      await write(`${name}.scales`, first * table.length, table);
    }
  }
}

/**
 * Codes [parts, rows, count, size] and scales [parts, rows, count], and of each row the sum of its
 * sizes, which is NaN or infinite where a value is. By the runtime: on the same cores a loop of
 * ours took several times as long.
 */
async function roundRows(
  name: string,
  span: WeightSpan,
): Promise<Record<"codes" | "scales" | "sums", Tensor>> {
  const [rows, columns] = span.shape as [number, number];
  const { size, parts, turn } = layoutOf(span.shape);
  const count = Math.ceil(columns / parts / size);
  const graph = new GraphBuilder("round", () => span, cpuTarget);
  const context = { graph };
  const matrix = graph.input("turn", "f32", [turn, turn]);
  const whole = wholeMatrix(context, name);
  const turned = graph.op("MatMul", [reshape(context, whole, [-1, turn]), matrix]);
  const stored = reshape(context, turn === 1 ? whole : turned, [rows, columns]);
  const padding = parts * count * size - columns;
  const padded = graph.op("Pad", [stored, graph.ints([0, 0, 0, padding])]);
  const byRow = reshape(context, padded, [rows, parts, count * size]);
  const byPart = graph.op("Transpose", [byRow], { perm: [1, 0, 2] });
  const values = reshape(context, byPart, [parts, rows, count, size]);
  const largest = graph.op("ReduceMax", [graph.op("Abs", [values]), graph.ints([-1])]);
  const scales = graph.op("Div", [largest, graph.floats([largestCode])]);
  // A block of zeros has no scale to divide by.
  const steps = graph.op("Max", [scales, graph.floats([smallestNormal])]);
  const rounded = graph.op("Round", [graph.op("Div", [values, steps])]);
  const codes = graph.op("Add", [rounded, graph.floats([zeroCode])]);
  const sums = graph.op("ReduceL1", [whole, graph.ints([1])], { keepdims: 0 });
  graph.output("codes", "f32", [parts, rows, count, size], codes);
  graph.output("scales", "f32", [parts, rows, count, 1], scales);
  graph.output("sums", "f32", [rows], sums);
  const session = await openSession(graph.finish(), cpuTarget);
  try {
    const data = hadamard(turn).map((value) => value / turn);
    const results = await session.run({ turn: { data, shape: [turn, turn] } });
    return results as Awaited<ReturnType<typeof roundRows>>; // the outputs above
  } finally {
    await session.release();
  }
}
