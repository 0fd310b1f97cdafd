import { z } from "zod";
import { InputError } from "../errors.ts";

/** Far above any real model: a hostile configuration must not make us build without end. */
const positive = z.int().positive().max(1_000_000);

/** `vae/config.json` of an AutoencoderKL; absent keys take diffusers' class defaults. */
const schema = z
  .object({
    _class_name: z.literal("AutoencoderKL"),
    act_fn: z.literal("silu").default("silu"),
    block_out_channels: z.array(positive).min(1).max(8),
    layers_per_block: z.int().positive().max(100),
    latent_channels: positive,
    out_channels: z.literal(3).default(3),
    norm_num_groups: positive.default(32),
    scaling_factor: z.number(),
    shift_factor: z.number().nullable().default(null),
    mid_block_add_attention: z.boolean().default(true),
    use_post_quant_conv: z.boolean().default(true),
    up_block_types: z.array(z.literal("UpDecoderBlock2D")),
  })
  .refine(
    ({ block_out_channels, norm_num_groups }) =>
      block_out_channels.every((channels) => channels % norm_num_groups === 0),
    "block_out_channels must be multiples of norm_num_groups",
  )
  .refine(({ scaling_factor }) => scaling_factor !== 0, "scaling_factor must not be 0");

export interface VaeConfig {
  /** Encoder order, narrow to wide. */
  readonly channels: readonly number[];
  /** Residual blocks per decoder level: one more than the encoder has. */
  readonly resnetsPerLevel: number;
  readonly latentChannels: number;
  readonly groups: number;
  readonly scalingFactor: number;
  readonly shiftFactor: number;
  readonly midAttention: boolean;
  readonly postQuantConv: boolean;
  /** Pixels per latent, along each side. */
  readonly scaleFactor: number;
}

/** @throws InputError naming the file and each key that is missing or not supported */
export function parseVaeConfig(json: unknown, file: string): VaeConfig {
  const result = schema.safeParse(json);
  if (!result.success) {
    throw new InputError(
      `${file} is not the configuration of a VAE that Retake computes: ` +
        z.prettifyError(result.error).replaceAll("\n", " "),
    );
  }
  const config = result.data;
  return {
    channels: config.block_out_channels,
    resnetsPerLevel: config.layers_per_block + 1,
    latentChannels: config.latent_channels,
    groups: config.norm_num_groups,
    scalingFactor: config.scaling_factor,
    shiftFactor: config.shift_factor ?? 0,
    midAttention: config.mid_block_add_attention,
    postQuantConv: config.use_post_quant_conv,
    scaleFactor: 2 ** (config.block_out_channels.length - 1),
  };
}
