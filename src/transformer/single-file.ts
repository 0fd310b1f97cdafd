import { InputError, listed } from "../errors.ts";
import type { WeightSpan } from "../onnx/graph.ts";
import { rowsOf } from "../weights/rows-of.ts";
import { patchSize } from "./config.ts";
import { finalLayer, patchEmbedder } from "./weight-shapes.ts";

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

/** Keys that only a kind of file has; the first that fits names it. */
const kinds: readonly (readonly [RegExp, string])[] = [
  [
    /\.(lora_(A|B|up|down|magnitude_vector)\b|lokr_w|hada_w|dora_scale)|^lora_unet_/,
    "a LoRA file: name it with --lora",
  ],
  [/^layers\.0\.adaLN_modulation\.1\./, "a Lumina Image 2.0 transformer"],
  [
    /double_blocks\.0\.img_attn|^transformer_blocks\.0\.attn\.norm_added_k|single_transformer_blocks\.0\./,
    "a FLUX transformer",
  ],
  [/^transformer_blocks\.0\.img_mod\./, "a Qwen-Image transformer"],
  [/joint_blocks\.0\./, "a Stable Diffusion 3 transformer"],
  [/^blocks\.0\.(self_attn|cross_attn)\./, "a Wan transformer"],
  [
    /(^|\.)(input_blocks|down_blocks)\.0\.|^conditioner\.embedders\./,
    "a Stable Diffusion checkpoint (SD 1, SD 2 or SDXL)",
  ],
  [
    /(^|\.)layers\.0\.self_attn\.q_proj\.|^blk\.0\.attn_q\./,
    "a language model, such as a text encoder",
  ],
  [/^(encoder|decoder)\.(conv_in|mid|mid_block|up|up_blocks)\./, "a VAE"],
];

/** What a file is that is no Z-Image transformer, as far as its tensors' names tell. */
function otherNetwork(names: readonly string[]): string | undefined {
  return kinds.find(([key]) => names.some((name) => key.test(name)))?.[1];
}

/** What the transformer's names begin with in a checkpoint that holds more than it. */
const prefix = "model.diffusion_model.";
/** The rest of such a checkpoint; it is not read. */
const otherParts = /^(text_encoders|vae|first_stage_model|cond_stage_model)\./;
/** Only a Z-Image transformer has it, whoever named its tensors. */
const detectionKey = "layers.0.adaLN_modulation.0.weight";

/** The original names that differ from diffusers'. Source: diffusers, loaders/single_file_utils.py. */
const renames: readonly (readonly [RegExp, string])[] = [
  [/^x_embedder\./, `${patchEmbedder}.`],
  [/^final_layer\./, `${finalLayer}.`],
  [/\.attention\.out\./, ".attention.to_out.0."],
  [/\.attention\.([qk])_norm\./, ".attention.norm_$1."],
];
const fused = ".attention.qkv.weight";
/** Matrices of one row; tools that drop dimensions of 1 make vectors of them. */
const padTokens = new Set(["x_pad_token", "cap_pad_token"]);
/** In the original file, read by nobody. */
const unused = new Set(["norm_final.weight"]);

/**
 * The tensors of the transformer in a file that holds it, alone or among other parts, without
 * the prefix of such a file.
 *
 * @throws InputError saying what the file is instead
 */
export function transformerPart<Span>(
  tensors: ReadonlyMap<string, Span>,
  file: string,
): Map<string, Span> {
  const prefixed = [...tensors.keys()].some((name) => name.startsWith(prefix));
  const part = new Map<string, Span>();
  const rest: string[] = [];
  for (const [name, span] of tensors) {
    if (prefixed && name.startsWith(prefix)) part.set(name.slice(prefix.length), span);
    else if (prefixed || otherParts.test(name)) rest.push(name);
    else part.set(name, span);
  }
  if (!part.has(detectionKey)) {
    const what = otherNetwork([...part.keys(), ...rest]);
    throw new InputError(
      `${file} is not a Z-Image transformer: it ${
        what === undefined ? `has no tensor ${detectionKey}` : `looks like ${what}`
      }. Name a Z-Image checkpoint, as .safetensors or .gguf.`,
    );
  }
  refuseLeftover(
    rest.filter((name) => !otherParts.test(name)),
    file,
  );
  return part;
}

/**
 * The same tensors under diffusers' names. Query, key and value that are one matrix
 * [3·dim, dim] become three ranges of its rows: nothing is moved.
 *
 * @throws InputError if two tensors come to one name
 */
export function withDiffusersNames(
  tensors: ReadonlyMap<string, WeightSpan>,
  file: string,
): Map<string, WeightSpan> {
  const named = new Map<string, WeightSpan>();
  const add = (name: string, span: WeightSpan) => {
    if (named.has(name)) throw new InputError(`${file} holds ${name} twice, under two names.`);
    named.set(name, span);
  };
  for (const [original, span] of tensors) {
    if (unused.has(original)) continue;
    if (padTokens.has(original) && span.shape.length === 1) {
      add(original, { ...span, shape: [1, ...span.shape] });
      continue;
    }
    const name = renames.reduce((text, [from, to]) => text.replace(from, to), original);
    const [rows] = span.shape;
    if (!name.endsWith(fused) || rows === undefined || rows % 3 !== 0) {
      add(name, span);
      continue;
    }
    for (const [i, part] of ["to_q", "to_k", "to_v"].entries()) {
      const third = name.replace(fused, `.attention.${part}.weight`);
      add(third, rowsOf(span, (i * rows) / 3, rows / 3));
    }
  }
  return named;
}

/** Refuses tensors that nobody would read: the file is more than, or other than, it seems. */
export function refuseLeftover(names: readonly string[], file: string): void {
  if (names.length === 0) return;
  throw new InputError(
    `${file} holds tensors that a Z-Image transformer doesn't have: ${listed(names)}. ` +
      "Is it a variant that Retake doesn't know?",
  );
}
