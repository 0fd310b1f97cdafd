import type { GraphBuilder, Value } from "./graph.ts";
import type { ElementType } from "./model-proto.ts";

/** A graph under construction. */
export interface GraphContext {
  readonly graph: GraphBuilder;
}

export function cast({ graph }: GraphContext, x: Value, to: ElementType): Value {
  return graph.op("Cast", [x], { to: { element: to } });
}

/** A weight in the compute dtype. What is stored in another is widened each time it is used: no f32 copy stays. */
export function weight(context: GraphContext, name: string): Value {
  const { graph } = context;
  const { value, type, shape } = graph.weight(name);
  if (type === graph.target.compute) return value;
  // The runtime would widen an f16 weight for good as it opens the graph, but not behind a
  // Reshape, which moves nothing.
  return inCompute(context, type === "f16" ? reshape(context, value, shape) : value, type);
}

/** A value of some type in the compute dtype. */
export function inCompute(context: GraphContext, x: Value, type: ElementType): Value {
  const { compute } = context.graph.target;
  return type === compute ? x : cast(context, x, compute);
}

/** Values that were fed as f32, in the compute dtype. */
export function toCompute(context: GraphContext, x: Value): Value {
  return inCompute(context, x, "f32");
}

/** A result as f32: what leaves a graph is always f32. */
export function toF32(context: GraphContext, x: Value): Value {
  return context.graph.target.compute === "f32" ? x : cast(context, x, "f32");
}

export function constant(
  context: GraphContext,
  values: readonly number[],
  shape?: readonly number[],
): Value {
  return toCompute(context, context.graph.floats(values, shape));
}

/** RMS normalisation over the last axis; statistics in f32. x [..., n], scale [n]. */
export function rmsNorm({ graph }: GraphContext, x: Value, scale: Value, epsilon: number): Value {
  // The runtime's own name for it, from before opset 23 had one.
  const type = graph.target.opset >= 23 ? "RMSNormalization" : "SimplifiedLayerNormalization";
  return graph.op(type, [x, scale], { axis: -1, epsilon: { float: epsilon }, stash_type: 1 });
}

/** x · sigmoid(x). */
export function silu({ graph }: GraphContext, x: Value): Value {
  return graph.op("Mul", [x, graph.op("Sigmoid", [x])]);
}

/** Reshapes to fixed dimensions; 0 keeps the input's, -1 takes what is left. */
export function reshape({ graph }: GraphContext, x: Value, shape: readonly number[]): Value {
  return graph.op("Reshape", [x, graph.ints(shape)]);
}
