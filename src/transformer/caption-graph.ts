import type { Model, WeightLookup } from "../onnx/graph.ts";
import { GraphBuilder } from "../onnx/graph.ts";
import { rmsNorm, toCompute, toF32, weight } from "../onnx/layers.ts";
import type { Target } from "../onnx/target.ts";
import { adaptedLinear, adaptedNorm } from "./adapted-linear.ts";
import type { AdapterShape } from "./adapter.ts";
import { transformerBlock } from "./block.ts";
import type { TransformerConfig } from "./config.ts";
import type { Cuts } from "./cuts.ts";
import { appendPads } from "./patches.ts";
import { captionBlocks } from "./weight-shapes.ts";

/**
 * The part of the network that depends on the text alone: embeds the prompt
 * embeds, pads them and refines them. Once per request.
 *
 * Inputs: `prompt_embeds` [length, captionDim], `pads` int64 [1] (how many pad
 * rows follow), `cos` and `sin` [padded, headDim/2]. Output: `caption` [padded, dim].
 */
export function buildCaptionGraph(
  config: TransformerConfig,
  lookup: WeightLookup,
  target: Target,
  adapted: ReadonlyMap<string, AdapterShape>,
  cuts: Cuts,
): Model {
  const graph = new GraphBuilder("caption", lookup, target);
  const context = { graph, adapted, cuts };
  const embeds = toCompute(
    context,
    graph.input("prompt_embeds", "f32", ["length", config.captionDim]),
  );
  const normed = rmsNorm(context, embeds, adaptedNorm(context, "cap_embedder.0"), config.normEps);
  const embedded = adaptedLinear(context, normed, "cap_embedder.1", { bias: true });
  const pads = graph.input("pads", "i64", [1]);
  const padded = appendPads(context, embedded, weight(context, "cap_pad_token"), pads, config.dim);
  const packing = {
    tokens: "padded",
    sequences: 1,
    cos: graph.input("cos", "f32", ["padded", config.headDim / 2]),
    sin: graph.input("sin", "f32", ["padded", config.headDim / 2]),
  };
  let x = padded;
  for (const block of captionBlocks(config)) {
    const scales = {
      attentionNorm1: adaptedNorm(context, `${block}.attention_norm1`),
      attentionNorm2: adaptedNorm(context, `${block}.attention_norm2`),
      ffnNorm1: adaptedNorm(context, `${block}.ffn_norm1`),
      ffnNorm2: adaptedNorm(context, `${block}.ffn_norm2`),
    };
    x = transformerBlock(context, config, block, x, scales, packing);
  }
  graph.output("caption", "f32", ["padded", config.dim], toF32(context, x));
  return graph.finish();
}
