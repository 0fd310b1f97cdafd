import { z } from "zod";
import { parseConfig } from "../weights/parse-config.ts";

/** Rows are padded to a multiple of this: `SEQ_MULTI_OF` in diffusers' transformer_z_image.py. */
export const sequenceMultiple = 32;

/** The pipeline always calls the network with this patch: `patch_size=2, f_patch_size=1`. */
export const patchSize = 2;

/** Widest vector that modulates a block: `ADALN_EMBED_DIM`. */
const widestModulation = 256;

/** Far above any real model: a hostile configuration must not make us build without end. */
const positive = z.int().positive().max(1_000_000);
const className = z.literal("ZImageTransformer2DModel");
const layerCount = z.int().nonnegative().max(1000);

/** `transformer/config.json`; keys that don't change the maths are let through. */
const schema = z
  .object({
    _class_name: className,
    all_patch_size: z.array(positive).refine((sizes) => sizes.includes(patchSize), "must hold 2"),
    all_f_patch_size: z.array(positive).refine((sizes) => sizes.includes(1), "must hold 1"),
    in_channels: positive,
    dim: positive,
    n_layers: layerCount,
    n_refiner_layers: layerCount,
    n_heads: positive,
    norm_eps: z.number().positive(),
    qk_norm: z.boolean(),
    cap_feat_dim: positive,
    siglip_feat_dim: z.null().optional(),
    rope_theta: z.number().positive(),
    t_scale: z.number().positive(),
    axes_dims: z.array(positive.refine((dim) => dim % 2 === 0, "must be even")).length(3),
    axes_lens: z.array(positive).length(3),
  })
  .refine(({ dim, n_heads }) => dim % n_heads === 0, "dim must be a multiple of n_heads")
  .refine(
    ({ dim, n_heads, axes_dims }) => axes_dims.reduce((a, b) => a + b) === dim / n_heads,
    "axes_dims must add up to dim / n_heads",
  );

export interface TransformerConfig {
  readonly inChannels: number;
  readonly dim: number;
  readonly layers: number;
  readonly refinerLayers: number;
  readonly heads: number;
  readonly headDim: number;
  /** Width of the feed-forward's inner layer, `int(dim / 3 * 8)`. */
  readonly hiddenDim: number;
  /** Width of the vector that modulates the blocks, at most 256. */
  readonly modulationDim: number;
  readonly normEps: number;
  readonly qkNorm: boolean;
  readonly captionDim: number;
  readonly ropeTheta: number;
  readonly timeScale: number;
  /** How many of a head's features turn with each position axis; even, they add up to headDim. */
  readonly axesDims: readonly number[];
  /** How many positions each axis has. */
  readonly axesLens: readonly number[];
}

/** Whether a config.json is a Z-Image transformer's at all. */
export function isTransformerConfig(json: unknown): boolean {
  return z.object({ _class_name: className }).safeParse(json).success;
}

/** @throws InputError naming the file and each key that is missing or not supported. */
export function parseTransformerConfig(json: unknown, file: string): TransformerConfig {
  const config = parseConfig(schema, json, file, "a Z-Image transformer's configuration");
  return {
    inChannels: config.in_channels,
    dim: config.dim,
    layers: config.n_layers,
    refinerLayers: config.n_refiner_layers,
    heads: config.n_heads,
    headDim: config.dim / config.n_heads,
    hiddenDim: Math.trunc((config.dim / 3) * 8),
    modulationDim: Math.min(config.dim, widestModulation),
    normEps: config.norm_eps,
    qkNorm: config.qk_norm,
    captionDim: config.cap_feat_dim,
    ropeTheta: config.rope_theta,
    timeScale: config.t_scale,
    axesDims: config.axes_dims,
    axesLens: config.axes_lens,
  };
}
