import { z } from "zod";
import { parseConfig } from "../weights/parse-config.ts";

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
  const config = parseConfig(schema, json, file, "the configuration of a VAE that Retake computes");
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

/** A residual block of the decoder: its name and its widths. */
export interface Resnet {
  readonly name: string;
  readonly inChannels: number;
  readonly outChannels: number;
}

/** One level of the decoder, from wide to narrow. */
export interface Level {
  readonly resnets: readonly Resnet[];
  /** Name of the convolution after the 2x enlargement; the last level has none. */
  readonly upsampler: string | undefined;
  readonly channels: number;
}

/** Width of the decoder's middle. */
export function midChannels({ channels }: VaeConfig): number {
  return channels.at(-1)!;
}

export function midResnets(config: VaeConfig): readonly [Resnet, Resnet] {
  const width = midChannels(config);
  const resnet = (i: number): Resnet => ({
    name: `decoder.mid_block.resnets.${i}`,
    inChannels: width,
    outChannels: width,
  });
  return [resnet(0), resnet(1)];
}

export function decoderLevels(config: VaeConfig): Level[] {
  const widths = config.channels.toReversed();
  return widths.map((channels, level) => ({
    channels,
    resnets: Array.from({ length: config.resnetsPerLevel }, (_, i) => ({
      name: `decoder.up_blocks.${level}.resnets.${i}`,
      inChannels: i === 0 ? widths[Math.max(0, level - 1)]! : channels,
      outChannels: channels,
    })),
    upsampler:
      level === widths.length - 1 ? undefined : `decoder.up_blocks.${level}.upsamplers.0.conv`,
  }));
}

/** Every tensor that the decoder reads, with its shape. */
export function vaeWeights(config: VaeConfig): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  const withBias = (name: string, shape: readonly number[]) => {
    shapes.set(`${name}.weight`, shape);
    shapes.set(`${name}.bias`, [shape[0]!]);
  };
  const conv = (name: string, out: number, inside: number, size: number) =>
    withBias(name, [out, inside, size, size]);
  const resnet = ({ name, inChannels, outChannels }: Resnet) => {
    withBias(`${name}.norm1`, [inChannels]);
    conv(`${name}.conv1`, outChannels, inChannels, 3);
    withBias(`${name}.norm2`, [outChannels]);
    conv(`${name}.conv2`, outChannels, outChannels, 3);
    if (inChannels !== outChannels) conv(`${name}.conv_shortcut`, outChannels, inChannels, 1);
  };
  const mid = midChannels(config);
  if (config.postQuantConv) {
    conv("post_quant_conv", config.latentChannels, config.latentChannels, 1);
  }
  conv("decoder.conv_in", mid, config.latentChannels, 3);
  for (const block of midResnets(config)) resnet(block);
  if (config.midAttention) {
    const attention = "decoder.mid_block.attentions.0";
    withBias(`${attention}.group_norm`, [mid]);
    for (const part of ["to_q", "to_k", "to_v", "to_out.0"]) {
      withBias(`${attention}.${part}`, [mid, mid]);
    }
  }
  for (const { resnets, upsampler, channels } of decoderLevels(config)) {
    for (const block of resnets) resnet(block);
    if (upsampler !== undefined) conv(upsampler, channels, channels, 3);
  }
  const last = config.channels[0]!;
  withBias("decoder.conv_norm_out", [last]);
  conv("decoder.conv_out", 3, last, 3);
  return shapes;
}
