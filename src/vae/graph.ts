import type { Model, Value, WeightLookup } from "../onnx/graph.ts";
import { GraphBuilder } from "../onnx/graph.ts";
import type { GraphContext } from "../onnx/layers.ts";
import { cast, constant, reshape, silu, toCompute, toF32, weight } from "../onnx/layers.ts";
import { linear } from "../onnx/linear.ts";
import type { Target } from "../onnx/target.ts";
import type { Resnet, VaeConfig } from "./config.ts";
import { decoderLevels, midChannels, midResnets } from "./config.ts";

/** Epsilon of every group norm; fixed in diffusers' `Decoder`. */
const normEps = 1e-6;

/**
 * The decoder of an AutoencoderKL, from the pipeline's latents to a picture.
 *
 * Input: `latents` [1, latentChannels, h, w]. Output: `image` [1, 3, H, W] in
 * [0, 1], before rounding to bytes.
 */
export function buildVaeDecoder(config: VaeConfig, lookup: WeightLookup, target: Target): Model {
  const graph = new GraphBuilder("vae_decoder", lookup, target);
  const context = { graph };
  const latents = toCompute(
    context,
    graph.input("latents", "f32", [1, config.latentChannels, "h", "w"]),
  );
  const number = (value: number) => constant(context, [value], []);
  let x = graph.op("Div", [latents, number(config.scalingFactor)]);
  x = graph.op("Add", [x, number(config.shiftFactor)]);
  if (config.postQuantConv) x = conv(context, x, "post_quant_conv", 1);

  x = conv(context, x, "decoder.conv_in", 3);
  const [before, after] = midResnets(config);
  x = resnet(context, config, before, x);
  if (config.midAttention) x = midAttention(context, config, x);
  x = resnet(context, config, after, x);
  for (const { resnets, upsampler } of decoderLevels(config)) {
    for (const block of resnets) x = resnet(context, config, block, x);
    if (upsampler !== undefined) x = conv(context, enlarge(context, x), upsampler, 3);
  }
  x = silu(context, groupNorm(context, config, x, "decoder.conv_norm_out"));
  x = conv(context, x, "decoder.conv_out", 3);

  x = graph.op("Add", [graph.op("Mul", [x, number(0.5)]), number(0.5)]);
  x = graph.op("Clip", [x, number(0), number(1)]);
  graph.output("image", "f32", [1, 3, "H", "W"], toF32(context, x));
  return graph.finish();
}

function conv(context: GraphContext, x: Value, name: string, size: 1 | 3): Value {
  const pad = (size - 1) / 2;
  const inputs = [x, weight(context, `${name}.weight`), weight(context, `${name}.bias`)];
  return context.graph.op("Conv", inputs, {
    kernel_shape: [size, size],
    pads: [pad, pad, pad, pad],
  });
}

/**
 * Group norm in f32 whatever is computed in, x [1, channels, H, W]. Means are taken of
 * each row of pixels and then of the rows: InstanceNormalization adds up a whole group
 * (4 million pixels at 1024x1024) in one run and loses three digits.
 */
function groupNorm(context: GraphContext, { groups }: VaeConfig, x: Value, name: string): Value {
  const { graph } = context;
  const wide = toF32(context, x);
  const affine = (part: string) => {
    const { value, type, shape } = graph.weight(`${name}.${part}`);
    const values = type === "f32" ? value : cast(context, value, "f32");
    return { values: reshape(context, values, [1, -1, 1, 1]), channels: shape[0]! };
  };
  const weights = affine("weight");
  /** [1, channels, H], a value per row, to [1, channels, 1, 1]: the mean of its group's rows. */
  const groupMean = (rows: Value) => {
    const grouped = reshape(context, rows, [1, groups, -1]);
    const mean = graph.op("ReduceMean", [grouped, graph.ints([2])], { keepdims: 1 });
    const each = graph.op("Expand", [mean, graph.ints([1, groups, weights.channels / groups])]);
    return reshape(context, each, [1, weights.channels, 1, 1]);
  };
  const alongRow = graph.ints([3]);
  const mean = groupMean(graph.op("ReduceMean", [wide, alongRow], { keepdims: 0 }));
  const centred = graph.op("Sub", [wide, mean]);
  const squares = graph.op("ReduceSumSquare", [centred, alongRow], { keepdims: 0 });
  const width = cast(context, graph.op("Shape", [x], { start: 3 }), "f32");
  const variance = groupMean(graph.op("Div", [squares, width]));
  const deviation = graph.op("Sqrt", [graph.op("Add", [variance, graph.floats([normEps], [])])]);
  const scaled = graph.op("Mul", [centred, graph.op("Div", [weights.values, deviation])]);
  return toCompute(context, graph.op("Add", [scaled, affine("bias").values]));
}

function resnet(context: GraphContext, config: VaeConfig, block: Resnet, x: Value): Value {
  const { name } = block;
  const half = (value: Value, i: 1 | 2) =>
    conv(
      context,
      silu(context, groupNorm(context, config, value, `${name}.norm${i}`)),
      `${name}.conv${i}`,
      3,
    );
  const shortcut =
    block.inChannels === block.outChannels ? x : conv(context, x, `${name}.conv_shortcut`, 1);
  return context.graph.op("Add", [shortcut, half(half(x, 1), 2)]);
}

/** One head over all places of the latents: x [1, channels, h, w]. */
function midAttention(context: GraphContext, config: VaeConfig, x: Value): Value {
  const { graph } = context;
  const name = "decoder.mid_block.attentions.0";
  const channels = midChannels(config);
  const normed = groupNorm(context, config, x, `${name}.group_norm`);
  const flat = reshape(context, normed, [channels, -1]);
  const places = graph.op("Transpose", [flat], { perm: [1, 0] });
  const project = (part: string) =>
    reshape(context, linear(context, places, `${name}.${part}`, { bias: true }), [1, -1, channels]);
  const attended = graph.declare(
    graph.op(
      "MultiHeadAttention",
      [project("to_q"), project("to_k"), project("to_v")],
      { num_heads: 1 },
      "com.microsoft",
    ),
    graph.target.compute,
    [1, "places", channels],
  );
  const out = linear(context, reshape(context, attended, [-1, channels]), `${name}.to_out.0`, {
    bias: true,
  });
  const back = graph.op("Transpose", [out], { perm: [1, 0] });
  return graph.op("Add", [x, graph.op("Reshape", [back, graph.op("Shape", [x])])]);
}

/** Each pixel becomes a square of 2x2. */
function enlarge({ graph }: GraphContext, x: Value): Value {
  return graph.op("Resize", [x, "", graph.floats([1, 1, 2, 2])], {
    mode: "nearest",
    coordinate_transformation_mode: "asymmetric",
    nearest_mode: "floor",
  });
}
