import { InputError } from "../errors.ts";
import type { WeightSpan } from "../onnx/graph.ts";
import { patchSize } from "./config.ts";
import { patchEmbedder } from "./weight-shapes.ts";

/** The head width of all published models; how it is shared between the axes can't be seen in a file. */
const knownHeadDim = 128;

/**
 * What `transformer/config.json` would say, from the shapes of the weights and, for what
 * shapes can't tell, the values of the published models.
 * Source of the latter: Tongyi-MAI/Z-Image, src/config/model.py.
 *
 * @param tensors under diffusers' names
 * @throws InputError if the file lacks what tells, or isn't of that family
 */
export function inferTransformerConfig(
  tensors: ReadonlyMap<string, WeightSpan>,
  file: string,
): Record<string, unknown> {
  const shapeOf = (name: string, rank: number) => {
    const shape = tensors.get(name)?.shape;
    if (shape?.length === rank) return shape;
    throw new InputError(
      `${file} has no config.json beside it, and no ${name} of ${rank} dimensions that would tell ` +
        "its shape. Is it a whole Z-Image transformer?",
    );
  };
  const [dim, patchDim] = shapeOf(`${patchEmbedder}.weight`, 2) as [number, number];
  const [, captionDim] = shapeOf("cap_embedder.1.weight", 2);
  const [headDim] = shapeOf("layers.0.attention.norm_q.weight", 1);
  if (headDim !== knownHeadDim) {
    throw new InputError(
      `${file} has heads of width ${headDim}; only for ${knownHeadDim} Retake knows how they are ` +
        "shared between the axes. Put the model's transformer/config.json beside the file.",
    );
  }
  return {
    _class_name: "ZImageTransformer2DModel",
    all_patch_size: [patchSize],
    all_f_patch_size: [1],
    in_channels: patchDim / patchSize ** 2,
    dim,
    n_layers: countBlocks(tensors, "layers"),
    n_refiner_layers: countBlocks(tensors, "noise_refiner"),
    n_heads: dim / headDim,
    norm_eps: 1e-5,
    qk_norm: true,
    cap_feat_dim: captionDim,
    rope_theta: 256,
    t_scale: 1000,
    axes_dims: [32, 48, 48],
    axes_lens: [1536, 512, 512],
  };
}

function countBlocks(tensors: ReadonlyMap<string, WeightSpan>, group: string): number {
  let count = 0;
  while (tensors.has(`${group}.${count}.attention_norm1.weight`)) count++;
  return count;
}
