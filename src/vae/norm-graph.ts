import type { Value } from "../onnx/graph.ts";
import type { GraphContext } from "../onnx/layers.ts";
import { cast, reshape, weight } from "../onnx/layers.ts";

/** Epsilon of every group norm; fixed in diffusers' `Decoder`. */
export const normEps = 1e-6;

/** Each channel's mean and variance over some rows of the picture, each [1, channels, 1, 1]. */
interface Statistics {
  readonly mean: Value;
  readonly variance: Value;
}

/** A group's mean and standard deviation for each of its channels, each [1, channels, 1, 1]. */
export interface Moments {
  readonly mean: Value;
  readonly deviation: Value;
}

export function momentInputs({ graph }: GraphContext, channels: number): Moments {
  const input = (name: string) => graph.input(name, "f32", [1, channels, 1, 1]);
  return { mean: input("mean"), deviation: input("deviation") };
}

export function normalise(
  context: GraphContext,
  x: Value,
  name: string,
  { mean, deviation }: Moments,
): Value {
  const { graph } = context;
  const affine = (part: string) =>
    reshape(context, weight(context, `${name}.${part}`), [1, -1, 1, 1]);
  const centred = graph.op("Sub", [x, mean]);
  const scaled = graph.op("Mul", [centred, graph.op("Div", [affine("weight"), deviation])]);
  return graph.op("Add", [scaled, affine("bias")]);
}

/**
 * Means are taken of each row of pixels and then of the rows: InstanceNormalization adds up a
 * whole group (4 million pixels at 1024x1024) in one run and loses three digits.
 */
function statisticsOf({ graph }: GraphContext, x: Value): Statistics {
  const alongRow = graph.ints([3]);
  const overRows = (rows: Value) =>
    graph.op("ReduceMean", [rows, graph.ints([2])], { keepdims: 1 });
  const mean = overRows(graph.op("ReduceMean", [x, alongRow], { keepdims: 1 }));
  const centred = graph.op("Sub", [x, mean]);
  const squares = graph.op("ReduceSumSquare", [centred, alongRow], { keepdims: 1 });
  const width = cast({ graph }, graph.op("Shape", [x], { start: 3 }), "f32");
  return { mean, variance: overRows(graph.op("Div", [squares, width])) };
}

export function outputStatistics(context: GraphContext, y: Value, channels: number): void {
  const { mean, variance } = statisticsOf(context, y);
  context.graph.output("y_mean", "f32", [1, channels, 1, 1], mean);
  context.graph.output("y_variance", "f32", [1, channels, 1, 1], variance);
}

/** The norm of a whole picture, from each channel's statistics. */
export function wholeMoments(
  context: GraphContext,
  groups: number,
  channels: number,
  x: Value,
): Moments {
  const { graph } = context;
  const { mean, variance } = statisticsOf(context, x);
  const inGroups = (value: Value) => reshape(context, value, [1, groups, -1]);
  const overGroup = (value: Value) =>
    graph.op("ReduceMean", [value, graph.ints([2])], { keepdims: 1 });
  const means = inGroups(mean);
  const groupMean = overGroup(means);
  const offset = graph.op("Sub", [means, groupMean]);
  const squares = graph.op("Add", [inGroups(variance), graph.op("Mul", [offset, offset])]);
  const deviation = graph.op("Sqrt", [
    graph.op("Add", [overGroup(squares), graph.floats([normEps], [])]),
  ]);
  const forEach = (value: Value) => {
    const each = graph.op("Expand", [value, graph.ints([1, groups, channels / groups])]);
    return reshape(context, each, [1, channels, 1, 1]);
  };
  return { mean: forEach(groupMean), deviation: forEach(deviation) };
}
