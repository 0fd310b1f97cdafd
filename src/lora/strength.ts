import { GraphBuilder } from "../onnx/graph.ts";
import type { Session } from "../onnx/session.ts";
import { openSession } from "../onnx/session.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { AdapterValues } from "./values.ts";

/** Measures how far LoRAs move weights. */
export interface StrengthMeter {
  /** Frobenius norm of a module's change at multiplier 1, a magnitude left out. */
  measure(values: AdapterValues): Promise<number>;
  release(): Promise<void>;
}

/** The products run in the engine: a rank of 128 on every module is 100 billion operations. */
export async function openStrengthMeter(): Promise<StrengthMeter> {
  const [pair, hadamard] = await Promise.all([openPair(), openHadamard()]);
  const norm = async (session: Session, feeds: Record<string, Tensor>) => {
    const { squared } = await session.run(feeds);
    // Rounding can take an exact 0 below it.
    return Math.sqrt(Math.max(squared!.data[0]!, 0));
  };
  const productNorm = (a: Tensor, b: Tensor) => norm(pair, { a, b });
  return {
    async measure({ delta, scale }) {
      if (delta.kind === "lora") return scale * (await productNorm(delta.loraB, delta.loraA));
      if (delta.kind === "loha") {
        const { w1a, w1b, w2a, w2b } = delta;
        return scale * (await norm(hadamard, { w1a, w1b, w2a, w2b }));
      }
      // |w1 ⊗ w2| = |w1| |w2|; of a fused one's rows, a third on average.
      const [first, second] = delta.w2;
      const w2 = second === undefined ? frobenius(first!) : await productNorm(first!, second);
      return scale * frobenius(delta.w1) * w2 * (delta.rows === null ? 1 : Math.sqrt(1 / 3));
    },
    async release() {
      await pair.release();
      await hadamard.release();
    },
  };
}

function frobenius({ data }: Tensor): number {
  let sum = 0;
  for (const value of data) sum += value * value;
  return Math.sqrt(sum);
}

/** |a b|² as the sum of (aᵀa) ∘ (b bᵀ): a [rows, rank], b [rank, columns], never their product. */
function openPair(): Promise<Session> {
  const graph = new GraphBuilder("norm of a product", noWeights);
  const a = graph.input("a", "f32", ["rows", "rank"]);
  const b = graph.input("b", "f32", ["rank", "columns"]);
  const swap = (value: typeof a) => graph.op("Transpose", [value], { perm: [1, 0] });
  const left = graph.op("MatMul", [swap(a), a]);
  const right = graph.op("MatMul", [b, swap(b)]);
  const sum = graph.op("ReduceSum", [graph.op("Mul", [left, right])], { keepdims: 0 });
  graph.output("squared", "f32", [1], graph.op("Reshape", [sum, graph.ints([1])]));
  return openSession(graph.finish(), "cpu");
}

/** |(w1a w1b) ∘ (w2a w2b)|². */
function openHadamard(): Promise<Session> {
  const graph = new GraphBuilder("norm of a hadamard product", noWeights);
  const factor = (name: string) => graph.input(name, "f32", [`rows.${name}`, `columns.${name}`]);
  const left = graph.op("MatMul", [factor("w1a"), factor("w1b")]);
  const right = graph.op("MatMul", [factor("w2a"), factor("w2b")]);
  const delta = graph.op("Mul", [left, right]);
  const sum = graph.op("ReduceSum", [graph.op("Mul", [delta, delta])], { keepdims: 0 });
  graph.output("squared", "f32", [1], graph.op("Reshape", [sum, graph.ints([1])]));
  return openSession(graph.finish(), "cpu");
}

function noWeights(name: string): never {
  throw new RangeError(`no weight ${name}: this graph has none`);
}
