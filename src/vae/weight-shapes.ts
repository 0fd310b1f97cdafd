import type { VaeConfig } from "./config.ts";

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
