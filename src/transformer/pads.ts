import type { Value } from "../onnx/graph.ts";
import type { GraphContext } from "../onnx/layers.ts";

/** Puts `pads` (int64 [1]) copies of a pad token [1, dim] behind x [length, dim]. Pads are attended to. */
export function appendPads(
  { graph }: GraphContext,
  x: Value,
  padToken: Value,
  pads: Value,
  dim: number,
): Value {
  const shape = graph.op("Concat", [pads, graph.ints([dim])], { axis: 0 });
  return graph.op("Concat", [x, graph.op("Expand", [padToken, shape])], { axis: 0 });
}
