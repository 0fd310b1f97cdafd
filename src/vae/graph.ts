import type { Model, Value, WeightLookup } from "../onnx/graph.ts";
import { GraphBuilder } from "../onnx/graph.ts";
import type { GraphContext } from "../onnx/layers.ts";
import { constant, silu, weight } from "../onnx/layers.ts";
import type { Target } from "../onnx/target.ts";
import type { VaeConfig } from "./config.ts";
import type { Moments } from "./norm-graph.ts";
import { momentInputs, normalise, outputStatistics, wholeMoments } from "./norm-graph.ts";
import type { Stage } from "./stages.ts";

/** The rows next to a band; the factors are 0 at the picture's edge, where rows of zeros stand. */
interface Halo {
  readonly above: Value;
  readonly below: Value;
  readonly hasAbove: Value;
  readonly hasBelow: Value;
}

/**
 * One stage over a band of rows.
 *
 * Inputs: `x` [1, inChannels, rows, width]; the bands `above` and `below` it, or `x` itself at
 * the picture's edge, where `has_above` or `has_below` is 0 and not 1; `mean` and `deviation`
 * [1, inChannels, 1, 1] of the norm; `residual`, what is added to the result.
 * Outputs: `y`, and `shortcut` where the stage's branch goes through a convolution; `y_mean` and
 * `y_variance` [1, outChannels, 1, 1], each channel's over this band.
 */
export function buildStage(
  config: VaeConfig,
  lookup: WeightLookup,
  target: Target,
  stage: Stage,
): Model {
  const graph = new GraphBuilder(stage.conv, lookup, target);
  const context = { graph };
  const { inChannels, outChannels } = stage;
  const band = (name: string) => graph.input(name, "f32", [1, inChannels, `${name}_rows`, "w"]);
  const x = band("x");
  const halo = {
    above: graph.op("Slice", [
      band("above"),
      graph.ints([-1]),
      graph.ints([2 ** 31]),
      graph.ints([2]),
    ]),
    below: graph.op("Slice", [band("below"), graph.ints([0]), graph.ints([1]), graph.ints([2])]),
    hasAbove: graph.input("has_above", "f32", [1]),
    hasBelow: graph.input("has_below", "f32", [1]),
  };
  const norm = stage.norm === undefined ? undefined : momentInputs(context, inChannels);
  const before = (rows: Value) => enter(context, config, stage, rows, norm);
  let y = convolve(context, stage, before, x, halo);
  const result = [1, outChannels, "rows", "W"];
  if (stage.joins) y = graph.op("Add", [y, graph.input("residual", "f32", result)]);
  if (typeof stage.branch === "string") {
    graph.output("shortcut", "f32", result, conv(context, x, stage.branch, 1, [0, 0]));
  }
  if (stage.last) y = toPicture(context, y);
  graph.output("y", "f32", result, y);
  if (!stage.last) outputStatistics(context, y, outChannels);
  return graph.finish();
}

/**
 * Stages over the whole picture in one graph, for devices whose results can't stay with them.
 *
 * Input: `x` [1, channels, h, w]. Output: `y` [1, 3, H, W], the picture.
 */
export function buildWhole(
  config: VaeConfig,
  lookup: WeightLookup,
  target: Target,
  stages: readonly Stage[],
): Model {
  const graph = new GraphBuilder("vae_decoder", lookup, target);
  const context = { graph };
  let x = graph.input("x", "f32", [1, stages[0]!.inChannels, "h", "w"]);
  let held = x;
  for (const stage of stages) {
    const { inChannels } = stage;
    const norm =
      stage.norm === undefined ? undefined : wholeMoments(context, config.groups, inChannels, x);
    let y = convolve(context, stage, (rows) => enter(context, config, stage, rows, norm), x);
    if (stage.joins) y = graph.op("Add", [y, held]);
    if (stage.branch === true) held = x;
    else if (stage.branch !== undefined) held = conv(context, x, stage.branch, 1, [0, 0]);
    x = stage.last ? toPicture(context, y) : y;
  }
  graph.output("y", "f32", [1, 3, "H", "W"], x);
  return graph.finish();
}

/** What stands before a stage's convolution; it makes each pixel from that pixel alone. */
function enter(
  context: GraphContext,
  config: VaeConfig,
  stage: Stage,
  rows: Value,
  norm: Moments | undefined,
): Value {
  const { graph } = context;
  if (norm !== undefined) return silu(context, normalise(context, rows, stage.norm!, norm));
  if (stage.entry !== "latents") return rows;
  const number = (value: number) => constant(context, [value], []);
  const scaled = graph.op("Div", [rows, number(config.scalingFactor)]);
  const shifted = graph.op("Add", [scaled, number(config.shiftFactor)]);
  return config.postQuantConv ? conv(context, shifted, "post_quant_conv", 1, [0, 0]) : shifted;
}

function convolve(
  context: GraphContext,
  stage: Stage,
  before: (rows: Value) => Value,
  x: Value,
  halo?: Halo,
): Value {
  const { graph } = context;
  let rows = before(x);
  if (halo !== undefined) {
    const above = graph.op("Mul", [before(halo.above), halo.hasAbove]);
    const below = graph.op("Mul", [before(halo.below), halo.hasBelow]);
    rows = graph.op("Concat", [above, rows, below], { axis: 2 });
  }
  if (stage.entry === "enlarge") {
    rows = enlarge(context, rows);
    // Two rows each came of the halo's; the convolution needs the nearer ones.
    if (halo !== undefined) {
      rows = graph.op("Slice", [rows, graph.ints([1]), graph.ints([-1]), graph.ints([2])]);
    }
  }
  return conv(context, rows, stage.conv, 3, [halo === undefined ? 1 : 0, 1]);
}

function conv(
  context: GraphContext,
  x: Value,
  name: string,
  size: 1 | 3,
  [rows, columns]: readonly [number, number],
): Value {
  const inputs = [x, weight(context, `${name}.weight`), weight(context, `${name}.bias`)];
  return context.graph.op("Conv", inputs, {
    kernel_shape: [size, size],
    pads: [rows, columns, rows, columns],
  });
}

/** Each pixel becomes a square of 2x2. */
function enlarge({ graph }: GraphContext, x: Value): Value {
  return graph.op("Resize", [x, "", graph.floats([1, 1, 2, 2])], {
    mode: "nearest",
    coordinate_transformation_mode: "asymmetric",
    nearest_mode: "floor",
  });
}

function toPicture(context: GraphContext, y: Value): Value {
  const { graph } = context;
  const number = (value: number) => constant(context, [value], []);
  const shifted = graph.op("Add", [graph.op("Mul", [y, number(0.5)]), number(0.5)]);
  return graph.op("Clip", [shifted, number(0), number(1)]);
}
