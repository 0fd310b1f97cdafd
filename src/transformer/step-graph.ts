import type { Model, Value, WeightLookup } from "../onnx/graph.ts";
import { GraphBuilder } from "../onnx/graph.ts";
import { constant, reshape, toCompute, toF32, weight } from "../onnx/layers.ts";
import type { Target } from "../onnx/target.ts";
import type { TransformerContext } from "./adapted-linear.ts";
import { adaptedLinear } from "./adapted-linear.ts";
import type { AdapterShape } from "./adapter.ts";
import type { BlockScales, Packing } from "./block.ts";
import { transformerBlock } from "./block.ts";
import type { TransformerConfig } from "./config.ts";
import { patchSize } from "./config.ts";
import type { Cuts } from "./cuts.ts";
import { scalesPerBlock } from "./modulation-graph.ts";
import { appendPads } from "./patches.ts";
import { finalLayer, modulatedBlocks, patchEmbedder } from "./weight-shapes.ts";

/** Epsilon of the last LayerNorm; fixed in diffusers' `FinalLayer`. */
const finalNormEps = 1e-6;

/**
 * What is left for each step: embeds the patches, refines them, joins them with
 * each caption and runs the main layers.
 *
 * With two captions (guidance) both sequences go through each linear layer as
 * one product, so each weight is read and widened once a step, and nothing is
 * padded to the longer one.
 *
 * Inputs: `patches` [image, 4·channels], `pads` int64 [1], `scales`
 * [4·blocks, dim], `final_scale` [dim], `image_cos`/`image_sin` [captions ·
 * (image + pads), headDim/2], `image_lengths` int64 [captions], and per caption i
 * `caption.i` [padded, dim]; `cos`/`sin` [tokens, headDim/2] and `lengths`
 * int64 [captions] of the joined sequences. Lengths are fed with two captions only.
 * Output: `predictions` [captions, image, 4·channels].
 */
export function buildStepGraph(
  config: TransformerConfig,
  lookup: WeightLookup,
  target: Target,
  adapted: ReadonlyMap<string, AdapterShape>,
  captions: 1 | 2,
  cuts: Cuts,
): Model {
  const graph = new GraphBuilder("step", lookup, target);
  const context = { graph, adapted, cuts };
  const { dim, headDim } = config;
  const patchDim = patchSize * patchSize * config.inChannels;

  const patches = toCompute(context, graph.input("patches", "f32", ["image", patchDim]));
  const pads = graph.input("pads", "i64", [1]);
  const finalScale = toCompute(context, graph.input("final_scale", "f32", [dim]));
  const blocks = modulatedBlocks(config);
  const scales = blocks.length === 0 ? [] : readScales(context, config, blocks.length);
  const packing = (tokens: string, prefix: string): Packing => ({
    tokens,
    sequences: captions,
    cos: graph.input(`${prefix}cos`, "f32", [tokens, headDim / 2]),
    sin: graph.input(`${prefix}sin`, "f32", [tokens, headDim / 2]),
    ...(captions === 1 ? {} : { lengths: graph.input(`${prefix}lengths`, "i64", [captions]) }),
  });
  const imagePacking = packing("image_tokens", "image_");
  const joinedPacking = packing("tokens", "");

  const embedded = adaptedLinear(context, patches, patchEmbedder, { bias: true });
  const padded = appendPads(context, embedded, weight(context, "x_pad_token"), pads, dim);
  let refined = captions === 1 ? padded : graph.op("Concat", [padded, padded], { axis: 0 });
  for (const [i, block] of blocks.slice(0, config.refinerLayers).entries()) {
    refined = transformerBlock(context, config, block, refined, scales[i]!, imagePacking);
  }

  const images =
    captions === 1 ? [refined] : graph.ops("Split", [refined], 2, { axis: 0, num_outputs: 2 });
  const joined = images.flatMap((value, i) => {
    const caption = graph.input(`caption.${i}`, "f32", [`caption_tokens.${i}`, dim]);
    return [value, toCompute(context, caption)];
  });
  let x = graph.op("Concat", joined, { axis: 0 });
  for (const [i, block] of blocks.slice(config.refinerLayers).entries()) {
    x = transformerBlock(
      context,
      config,
      block,
      x,
      scales[config.refinerLayers + i]!,
      joinedPacking,
    );
  }

  const sequences =
    joinedPacking.lengths === undefined
      ? [x]
      : graph.ops("Split", [x, joinedPacking.lengths], captions, { axis: 0 });
  const imageTokens = graph.op("Shape", [patches], { start: 0, end: 1 });
  const rows = sequences.map((sequence) =>
    graph.op("Slice", [sequence, graph.ints([0]), imageTokens, graph.ints([0])]),
  );
  const all = rows.length === 1 ? rows[0]! : graph.op("Concat", rows, { axis: 0 });
  const predictions = finalPrediction(context, config, all, finalScale);
  const split = reshape(context, toF32(context, predictions), [captions, -1, patchDim]);
  graph.output("predictions", "f32", [captions, "image", patchDim], split);
  return graph.finish();
}

function readScales(
  context: TransformerContext,
  { dim }: TransformerConfig,
  blocks: number,
): BlockScales[] {
  const { graph } = context;
  const table = toCompute(context, graph.input("scales", "f32", [scalesPerBlock * blocks, dim]));
  const row = (index: number) => graph.op("Gather", [table, graph.ints([index], [])], { axis: 0 });
  return Array.from({ length: blocks }, (_, block) => ({
    attentionNorm1: row(scalesPerBlock * block),
    attentionNorm2: row(scalesPerBlock * block + 1),
    ffnNorm1: row(scalesPerBlock * block + 2),
    ffnNorm2: row(scalesPerBlock * block + 3),
  }));
}

/** LayerNorm without weights, modulated, then the projection to patches: x [image, dim]. */
function finalPrediction(
  context: TransformerContext,
  { dim }: TransformerConfig,
  x: Value,
  finalScale: Value,
): Value {
  const { graph } = context;
  const ones = constant(context, new Array<number>(dim).fill(1));
  const normed = graph.op("LayerNormalization", [x, ones], {
    axis: -1,
    epsilon: { float: finalNormEps },
  });
  const scaled = graph.op("Mul", [normed, finalScale]);
  return adaptedLinear(context, scaled, `${finalLayer}.linear`, { bias: true });
}
