import type { ElementType, GraphBuilder, Value } from "./graph.ts";

/** A graph under construction. */
export interface GraphContext {
  readonly graph: GraphBuilder;
}

export function cast({ graph }: GraphContext, x: Value, to: ElementType): Value {
  return graph.op("Cast", [x], { to: { element: to } });
}

/** A weight in the compute dtype. A bf16 weight is widened each time it is used: no f32 copy stays. */
export function weight(context: GraphContext, name: string): Value {
  const { value, type } = context.graph.weight(name);
  return inCompute(context, value, type);
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

/**
 * The same value, but only once `x` is there. What is computed from constants or inputs
 * alone waits for nothing, so the runtime does it early: for the real model 13 GB of f32
 * copies of weights lay waiting at once. The Reshape moves nothing; its shape is the
 * value's own, written as a sum with 0 that is taken from x.
 */
export function waitFor({ graph }: GraphContext, value: Value, x: Value): Value {
  const width = graph.op("Shape", [x], { start: -1 });
  const zero = graph.op("Sub", [width, width]);
  const sameShape = graph.op("Add", [graph.op("Shape", [value]), zero]);
  return graph.op("Reshape", [value, sameShape]);
}

/** RMS normalisation over the last axis; statistics in f32. x [..., n], scale [n]. */
export function rmsNorm({ graph }: GraphContext, x: Value, scale: Value, epsilon: number): Value {
  return graph.op("RMSNormalization", [x, scale], {
    axis: -1,
    epsilon: { float: epsilon },
    stash_type: 1,
  });
}

/** x · sigmoid(x). */
export function silu({ graph }: GraphContext, x: Value): Value {
  return graph.op("Mul", [x, graph.op("Sigmoid", [x])]);
}

/** Reshapes to fixed dimensions; 0 keeps the input's, -1 takes what is left. */
export function reshape({ graph }: GraphContext, x: Value, shape: readonly number[]): Value {
  return graph.op("Reshape", [x, graph.ints(shape)]);
}
