import type { Value, WeightLookup } from "../onnx/graph.ts";
import { GraphBuilder } from "../onnx/graph.ts";
import type { GraphContext } from "../onnx/layers.ts";
import { wholeMatrix } from "../onnx/linear.ts";
import type { Feeds } from "../onnx/session.ts";
import { openSession } from "../onnx/session.ts";
import { cpuTarget } from "../onnx/target.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { LohaDelta, LokrDelta, WeightDelta } from "../tensor/weight-delta.ts";

/**
 * Of each row of a weight w and its change d, [out] each: |w|², w·d and |d|².
 * They give the length of the row w + m·d for every m: |w|² + 2m w·d + m² |d|².
 */
export interface RowNorms {
  readonly weight: Tensor;
  readonly cross: Tensor;
  readonly delta: Tensor;
}

/** A change that counts as part of the weight, times a factor. */
export interface MergedDelta {
  readonly delta: WeightDelta;
  readonly factor: number;
}

/**
 * Computes them for one module, in f32 on the CPU whatever the weight's dtype and the device are: once
 * for a LoRA, so the weight need not go to the device for it.
 *
 * @param merged what w has besides its own values
 */
export async function rowNorms(
  lookup: WeightLookup,
  module: string,
  delta: WeightDelta,
  merged: readonly MergedDelta[] = [],
): Promise<RowNorms> {
  const graph = new GraphBuilder("row norms", lookup, cpuTarget);
  const context: GraphContext = { graph };
  const feeds: Record<string, Tensor> = {};
  const feed = (name: string, tensor: Tensor): Value => {
    feeds[name] = tensor;
    return graph.input(name, "f32", tensor.shape);
  };
  const rowSum = (value: Value) => graph.op("ReduceSum", [value, graph.ints([1])], { keepdims: 0 });
  const dot = (a: Value, b: Value) => rowSum(graph.op("Mul", [a, b]));
  const { cross, squared } = deltaProducts(graph, delta, feed, dot);
  const own = wholeMatrix(context, `${module}.weight`);
  const weight = merged.reduce((sum, { delta: added, factor }, i) => {
    const feedOf = (part: string, tensor: Tensor) => feed(`merged.${i}.${part}`, tensor);
    const whole = wholeDelta(graph, added, feedOf);
    return graph.op("Add", [sum, graph.op("Mul", [whole, graph.floats([factor])])]);
  }, own);
  const outDim = graph.span(`${module}.weight`).shape[0]!;
  // Not a product and its sum: that would be another matrix of 157 MB for the largest layers.
  const squares = graph.op("ReduceSumSquare", [weight, graph.ints([1])], { keepdims: 0 });
  graph.output("weight", "f32", [outDim], squares);
  graph.output("cross", "f32", [outDim], cross(weight));
  graph.output("delta", "f32", [outDim], squared);
  const session = await openSession(graph.finish(), cpuTarget);
  try {
    const results = await session.run(feeds satisfies Feeds);
    return { weight: results.weight!, cross: results.cross!, delta: results.delta! };
  } finally {
    await session.release();
  }
}

interface DeltaProducts {
  readonly cross: (weight: Value) => Value;
  readonly squared: Value;
}

function deltaProducts(
  graph: GraphBuilder,
  delta: WeightDelta,
  feed: (name: string, tensor: Tensor) => Value,
  dot: (a: Value, b: Value) => Value,
): DeltaProducts {
  if (delta.kind === "lora") {
    const product = (a: Value, b: Value) => graph.op("MatMul", [a, b]);
    // Through the rank, never the whole B A: a hundredth of the work.
    const [loraA, loraB] = [feed("loraA", delta.loraA), feed("loraB", delta.loraB)];
    const transposedA = graph.op("Transpose", [loraA], { perm: [1, 0] });
    return {
      cross: (weight) => dot(product(weight, transposedA), loraB),
      squared: dot(product(loraB, product(loraA, transposedA)), loraB),
    };
  }
  const whole = wholeDelta(graph, delta, feed);
  return { cross: (weight) => dot(weight, whole), squared: dot(whole, whole) };
}

function wholeDelta(
  graph: GraphBuilder,
  delta: WeightDelta,
  feed: (name: string, tensor: Tensor) => Value,
): Value {
  const product = (a: Value, b: Value) => graph.op("MatMul", [a, b]);
  if (delta.kind === "lora") {
    const loraA = feed("loraA", delta.loraA);
    return product(feed("loraB", delta.loraB), loraA);
  }
  if (delta.kind === "lokr") return kroneckerMatrix(graph, delta, feed, product);
  if (delta.kind === "loha") return hadamardMatrix(graph, delta, feed, product);
  return feed("whole", delta.whole);
}

function hadamardMatrix(
  graph: GraphBuilder,
  { w1a, w1b, w2a, w2b }: LohaDelta,
  feed: (name: string, tensor: Tensor) => Value,
  product: (a: Value, b: Value) => Value,
): Value {
  const left = product(feed("w1a", w1a), feed("w1b", w1b));
  const right = product(feed("w2a", w2a), feed("w2b", w2b));
  return graph.op("Mul", [left, right]);
}

function kroneckerMatrix(
  graph: GraphBuilder,
  { w1, w2, rows }: LokrDelta,
  feed: (name: string, tensor: Tensor) => Value,
  product: (a: Value, b: Value) => Value,
): Value {
  const first = feed("w1", w1);
  const second = w2.map((factor, i) => feed(`w2.${i}`, factor)).reduce(product);
  const [l, m, k, n] = [w1.shape[0]!, w1.shape[1]!, w2[0]!.shape[0]!, w2.at(-1)!.shape[1]!];
  const left = graph.op("Reshape", [first, graph.ints([l, 1, m, 1])]);
  const right = graph.op("Reshape", [second, graph.ints([1, k, 1, n])]);
  const whole = graph.op("Reshape", [graph.op("Mul", [left, right]), graph.ints([l * k, m * n])]);
  if (rows === null) return whole;
  const [start, end] = [graph.ints([rows.start]), graph.ints([rows.start + rows.count])];
  return graph.op("Slice", [whole, start, end, graph.ints([0])]);
}
