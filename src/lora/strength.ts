import { GraphBuilder, noWeights } from "../onnx/graph.ts";
import type { Session } from "../onnx/session.ts";
import { openSession } from "../onnx/session.ts";
import { cpuTarget } from "../onnx/target.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { AdapterValues } from "./values.ts";

/** Measures how far LoRAs move weights. */
export interface StrengthMeter {
  /** Frobenius norm of a module's change at multiplier 1, a magnitude left out; of the bias, if only that changes. */
  measure(values: AdapterValues): Promise<number>;
  release(): Promise<void>;
}

/** The products run in the engine: a rank of 128 on every module is 100 billion operations. */
export async function openStrengthMeter(): Promise<StrengthMeter> {
  const [pair, hadamard] = await Promise.all([openPair(), openHadamard()]);
  const run = async (session: Session, feeds: Record<string, Tensor>) => {
    const { squared } = await session.run(feeds);
    // Rounding can take an exact 0 below it.
    return squared!.data.map((value) => Math.max(value, 0));
  };
  return {
    async measure({ delta, biasDelta, scale }) {
      if (delta === null) return biasDelta === null ? 0 : lengthOf(biasDelta);
      if (delta.kind === "full") return scale * lengthOf(delta.whole);
      if (delta.kind === "lora") {
        const rows = await run(pair, { a: delta.loraB, b: delta.loraA });
        return scale * Math.sqrt(sumOf(rows));
      }
      if (delta.kind === "loha") {
        const { w1a, w1b, w2a, w2b } = delta;
        const rows = Math.max(1, Math.floor(mostAtOnce / w1b.shape[1]!));
        let square = 0;
        for (let at = 0; at < w1a.shape[0]!; at += rows) {
          const some = { w1a: rowsOf(w1a, at, rows), w2a: rowsOf(w2a, at, rows) };
          square += sumOf(await run(hadamard, { ...some, w1b, w2b }));
        }
        return scale * Math.sqrt(square);
      }
      const [a, b] = delta.w2;
      const w2 = b === undefined ? rowSquares(a!) : await run(pair, { a: a!, b });
      return scale * Math.sqrt(kroneckerSquare(rowSquares(delta.w1), w2, delta.rows));
    },
    async release() {
      await pair.release();
      await hadamard.release();
    },
  };
}

/** Values of a Hadamard product that are in memory at one time: it has none that could be left out. */
const mostAtOnce = 2 ** 24;

/** Up to so many rows from one on, sharing memory. */
function rowsOf({ data, shape }: Tensor, start: number, count: number): Tensor {
  const columns = shape[1]!;
  const rows = Math.min(count, shape[0]! - start);
  return { data: data.subarray(start * columns, (start + rows) * columns), shape: [rows, columns] };
}

/** |w1 ⊗ w2|² of some rows, from the squares of the factors' rows: row r of the product is row ⌊r/n⌋ ⊗ row r mod n. */
function kroneckerSquare(
  w1: Float64Array | Float32Array,
  w2: Float64Array | Float32Array,
  rows: { readonly start: number; readonly count: number } | null,
): number {
  if (rows === null) return sumOf(w1) * sumOf(w2);
  let sum = 0;
  for (let row = rows.start; row < rows.start + rows.count; row++)
    sum += w1[Math.floor(row / w2.length)]! * w2[row % w2.length]!;
  return sum;
}

/** Of a [rows, columns] matrix. */
function rowSquares({ data, shape }: Tensor): Float64Array {
  const squares = new Float64Array(shape[0]!);
  const columns = data.length / squares.length;
  for (let i = 0; i < data.length; i++) squares[Math.floor(i / columns)]! += data[i]! ** 2;
  return squares;
}

function lengthOf({ data }: Tensor): number {
  let square = 0;
  for (const value of data) square += value ** 2;
  return Math.sqrt(square);
}

function sumOf(values: Float64Array | Float32Array): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum;
}

/** The squares of a b's rows as those of (a (b bᵀ)) ∘ a: a [rows, rank], b [rank, columns], never their product. */
function openPair(): Promise<Session> {
  const graph = new GraphBuilder("norms of a product's rows", noWeights, cpuTarget);
  const a = graph.input("a", "f32", ["rows", "rank"]);
  const b = graph.input("b", "f32", ["rank", "columns"]);
  const gram = graph.op("MatMul", [b, graph.op("Transpose", [b], { perm: [1, 0] })]);
  const product = graph.op("Mul", [graph.op("MatMul", [a, gram]), a]);
  const squared = graph.op("ReduceSum", [product, graph.ints([1])], { keepdims: 0 });
  graph.output("squared", "f32", ["rows"], squared);
  return openSession(graph.finish(), cpuTarget);
}

/** The squares of the rows of (w1a w1b) ∘ (w2a w2b): of millions of values a sum in f32 is a hundredth off. */
function openHadamard(): Promise<Session> {
  const graph = new GraphBuilder("norm of a hadamard product", noWeights, cpuTarget);
  const factor = (name: string) => graph.input(name, "f32", [`rows.${name}`, `columns.${name}`]);
  const left = graph.op("MatMul", [factor("w1a"), factor("w1b")]);
  const right = graph.op("MatMul", [factor("w2a"), factor("w2b")]);
  const delta = graph.op("Mul", [left, right]);
  const product = graph.op("Mul", [delta, delta]);
  const squared = graph.op("ReduceSum", [product, graph.ints([1])], { keepdims: 0 });
  graph.output("squared", "f32", ["rows"], squared);
  return openSession(graph.finish(), cpuTarget);
}
