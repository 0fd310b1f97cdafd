import type { Model, Value, WeightLookup } from "../onnx/graph.ts";
import { GraphBuilder, noWeights } from "../onnx/graph.ts";
import { constant, reshape } from "../onnx/layers.ts";
import { linear } from "../onnx/linear.ts";
import type { Target } from "../onnx/target.ts";
import type { VaeConfig } from "./config.ts";
import { midChannels } from "./config.ts";
import { momentInputs, normalise, outputStatistics } from "./norm-graph.ts";

const attention = "decoder.mid_block.attentions.0";

/**
 * What the attention asks of a band of rows, and what it answers with.
 *
 * Inputs: `x` [1, channels, rows, w], `mean`, `deviation`. Outputs: `q` and `v` [1, places,
 * channels], q scaled; `k` the same for fused attention, [1, channels, places] for plain.
 */
export function buildQueries(config: VaeConfig, lookup: WeightLookup, target: Target): Model {
  const graph = new GraphBuilder("vae_queries", lookup, target);
  const context = { graph };
  const channels = midChannels(config);
  const x = graph.input("x", "f32", [1, channels, "rows", "w"]);
  const moments = momentInputs(context, channels);
  const normed = normalise(context, x, `${attention}.group_norm`, moments);
  const flat = reshape(context, normed, [channels, -1]);
  const places = graph.op("Transpose", [flat], { perm: [1, 0] });
  const project = (part: string) => linear(context, places, `${attention}.${part}`, { bias: true });
  const byPlace = (value: Value) => reshape(context, value, [1, -1, channels]);
  const scale = constant(context, [channels ** -0.5], []);
  const shape = [1, "places", channels];
  graph.output("q", "f32", shape, byPlace(graph.op("Mul", [project("to_q"), scale])));
  const k = project("to_k");
  if (target.attention === "fused") graph.output("k", "f32", shape, byPlace(k));
  else {
    const turned = graph.op("Transpose", [k], { perm: [1, 0] });
    graph.output("k", "f32", [1, channels, "places"], reshape(context, turned, [1, channels, -1]));
  }
  graph.output("v", "f32", shape, byPlace(project("to_v")));
  return graph.finish();
}

/** One band of queries over all keys, one head. Inputs: `q`, `k`, `v`. Output: `mixed`, of q's shape. */
export function buildFusedAttend(config: VaeConfig, target: Target): Model {
  const graph = new GraphBuilder("vae_attend", noWeights, target);
  const channels = midChannels(config);
  const input = (name: string, places: string) => graph.input(name, "f32", [1, places, channels]);
  const mixed = graph.op(
    "MultiHeadAttention",
    [input("q", "queries"), input("k", "keys"), input("v", "keys")],
    { num_heads: 1, scale: { float: 1 } },
    "com.microsoft",
  );
  const shape = [1, "queries", channels];
  graph.output("mixed", "f32", shape, graph.declare(mixed, "f32", shape));
  return graph.finish();
}

/**
 * One band of queries over one band of keys, one head. A softmax over all places is the sum over
 * bands of keys, of which each may raise the largest score that the exponents are measured from.
 *
 * Inputs: `q`, `k`, `v`; `largest` and `sum` [1, places, 1] and `mixed` [1, places, channels]
 * of the bands of keys before. Outputs: the last three with this band, as `largest_out`,
 * `sum_out` and `mixed_out`.
 */
export function buildPlainAttend(config: VaeConfig, target: Target): Model {
  const graph = new GraphBuilder("vae_attend", noWeights, target);
  const channels = midChannels(config);
  const q = graph.input("q", "f32", [1, "queries", channels]);
  const k = graph.input("k", "f32", [1, channels, "keys"]);
  const v = graph.input("v", "f32", [1, "keys", channels]);
  const column = [1, "queries", 1];
  const largestBefore = graph.input("largest", "f32", column);
  const sumBefore = graph.input("sum", "f32", column);
  const mixedBefore = graph.input("mixed", "f32", [1, "queries", channels]);
  const scores = graph.op("MatMul", [q, k]);
  const along = graph.ints([-1]);
  const best = graph.op("ReduceMax", [scores, along], { keepdims: 1 });
  const largest = graph.op("Max", [largestBefore, best]);
  const shares = graph.op("Exp", [graph.op("Sub", [scores, largest])]);
  const kept = graph.op("Exp", [graph.op("Sub", [largestBefore, largest])]);
  const sum = graph.op("Add", [
    graph.op("Mul", [sumBefore, kept]),
    graph.op("ReduceSum", [shares, along], { keepdims: 1 }),
  ]);
  const mixed = graph.op("Add", [
    graph.op("Mul", [mixedBefore, kept]),
    graph.op("MatMul", [shares, v]),
  ]);
  graph.output("largest_out", "f32", column, largest);
  graph.output("sum_out", "f32", column, sum);
  graph.output("mixed_out", "f32", [1, "queries", channels], mixed);
  return graph.finish();
}

/**
 * The attention's result for a band. Inputs: `x` as it came, `mixed` over all keys, and where the
 * attention is plain the `sum` that it is a multiple of. Outputs: `y`, of x's shape, and its
 * statistics.
 */
export function buildAttended(config: VaeConfig, lookup: WeightLookup, target: Target): Model {
  const graph = new GraphBuilder("vae_attended", lookup, target);
  const context = { graph };
  const channels = midChannels(config);
  const x = graph.input("x", "f32", [1, channels, "rows", "w"]);
  let mixed = graph.input("mixed", "f32", [1, "places", channels]);
  if (target.attention === "plain") {
    mixed = graph.op("Div", [mixed, graph.input("sum", "f32", [1, "places", 1])]);
  }
  const places = reshape(context, mixed, [-1, channels]);
  const out = linear(context, places, `${attention}.to_out.0`, { bias: true });
  const back = graph.op("Transpose", [out], { perm: [1, 0] });
  const y = graph.op("Add", [x, graph.op("Reshape", [back, graph.op("Shape", [x])])]);
  graph.output("y", "f32", [1, channels, "rows", "w"], y);
  outputStatistics(context, y, channels);
  return graph.finish();
}
