import type { Value } from "./graph.ts";
import type { GraphContext } from "./layers.ts";
import { constant, reshape, toCompute, toF32 } from "./layers.ts";

/** Queries, keys and values of one sequence, [1, tokens, heads · headDim] each. */
export interface AttentionInputs {
  readonly q: Value;
  readonly k: Value;
  readonly v: Value;
  readonly heads: number;
  readonly headDim: number;
}

/** How many parts the scores are computed in. */
export interface ScoreCuts {
  /** Groups of heads. */
  readonly heads: number;
  /** Runs of queries. */
  readonly queries: number;
}

/** softmax(q kᵀ / √headDim) v, [1, tokens, heads · headDim]. Every token sees every token. */
export function attention(context: GraphContext, inputs: AttentionInputs, cuts: ScoreCuts): Value {
  const { graph } = context;
  if (graph.target.attention === "plain") return plainAttention(context, inputs, cuts);
  const { q, k, v, heads } = inputs;
  return graph.op("MultiHeadAttention", [q, k, v], { num_heads: heads }, "com.microsoft");
}

function plainAttention(
  context: GraphContext,
  { q, k, v, heads, headDim }: AttentionInputs,
  cuts: ScoreCuts,
): Value {
  const { graph } = context;
  const byHead = (x: Value, perm: readonly number[]) =>
    graph.op("Transpose", [reshape(context, x, [-1, heads, headDim])], { perm });
  const shrunk = graph.op("Mul", [q, constant(context, [headDim ** -0.5], [])]);
  const queries = splitAmong(context, byHead(shrunk, [1, 0, 2]), heads, cuts.heads);
  const keys = splitAmong(context, byHead(k, [1, 2, 0]), heads, cuts.heads);
  const values = splitAmong(context, byHead(v, [1, 0, 2]), heads, cuts.heads);
  const mixed = queries.map((group, i) => {
    const parts = splitRows(context, group, 1, cuts.queries).map((rows) => {
      const scores = toF32(context, graph.op("MatMul", [rows, keys[i]!]));
      const shares = toCompute(context, graph.op("Softmax", [scores], { axis: -1 }));
      return graph.op("MatMul", [shares, values[i]!]);
    });
    return joined(context, parts, 1);
  });
  const byToken = graph.op("Transpose", [joined(context, mixed, 0)], { perm: [1, 0, 2] });
  return reshape(context, byToken, [1, -1, heads * headDim]);
}

/** x [heads, ...] in groups of as many heads each as can be. */
function splitAmong(context: GraphContext, x: Value, heads: number, groups: number): Value[] {
  if (groups === 1) return [x];
  const { graph } = context;
  const each = Math.ceil(heads / groups);
  // One Slice a group: a device binds few buffers at once, so a Split has few results there.
  return Array.from({ length: Math.ceil(heads / each) }, (_, i) =>
    graph.op("Slice", [x, ...[i * each, (i + 1) * each, 0].map((at) => graph.ints([at]))]),
  );
}

/** The most results of a Split: the least that WebGPU promises is eight buffers at once. */
const mostResults = 7;

/** x in about equal parts along an axis whose length is not known here; at least as long as cuts.ts says. */
export function splitRows(context: GraphContext, x: Value, axis: number, parts: number): Value[] {
  if (parts === 1) return [x];
  const { graph } = context;
  if (parts <= mostResults) return graph.ops("Split", [x], parts, { axis, num_outputs: parts });
  const outer = Math.min(mostResults, Math.ceil(parts / mostResults));
  return graph
    .ops("Split", [x], outer, { axis, num_outputs: outer })
    .flatMap((part) => splitRows(context, part, axis, Math.ceil(parts / outer)));
}

/** The parts of a tensor behind one another again. */
export function joined({ graph }: GraphContext, parts: readonly Value[], axis: number): Value {
  return parts.length === 1 ? parts[0]! : graph.op("Concat", parts, { axis });
}
