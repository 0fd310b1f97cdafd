import type { Resnet, VaeConfig } from "./config.ts";
import { decoderLevels, midChannels, midResnets } from "./config.ts";

/**
 * One 3x3 convolution of the decoder with what stands before and after it. A norm needs the
 * whole picture's statistics, so the decoder is cut before each: what lies between two cuts
 * needs a row above and a row below, and nothing more.
 */
export interface Stage {
  /** Name of the convolution. */
  readonly conv: string;
  readonly inChannels: number;
  readonly outChannels: number;
  /** Rows and columns that come of one row and column of latents. */
  readonly pixels: number;
  /** `latents` are scaled, shifted and mixed first; `enlarge` makes each pixel 2x2 first. */
  readonly entry?: "latents" | "enlarge";
  /** Name of the group norm, with a SiLU after it, that stands before the convolution. */
  readonly norm?: string;
  /** Its input is added to a later stage's result: `true`, or the name of the 1x1 convolution that it goes through. */
  readonly branch?: true | string;
  /** Adds what the last `branch` held. */
  readonly joins?: true;
  /** Its result is the picture in [0, 1]. */
  readonly last?: true;
}

function resnetStages({ name, inChannels, outChannels }: Resnet, pixels: number): Stage[] {
  const branch = inChannels === outChannels ? true : `${name}.conv_shortcut`;
  return [
    { conv: `${name}.conv1`, norm: `${name}.norm1`, inChannels, outChannels, pixels, branch },
    {
      conv: `${name}.conv2`,
      norm: `${name}.norm2`,
      inChannels: outChannels,
      outChannels,
      pixels,
      joins: true,
    },
  ];
}

/** From the latents to the attention, at the latents' size. */
export function stagesBeforeAttention(config: VaeConfig): Stage[] {
  const entry: Stage = {
    conv: "decoder.conv_in",
    inChannels: config.latentChannels,
    outChannels: midChannels(config),
    pixels: 1,
    entry: "latents",
  };
  return [entry, ...resnetStages(midResnets(config)[0], 1)];
}

/** From the attention to the picture. */
export function stagesAfterAttention(config: VaeConfig): Stage[] {
  const stages = resnetStages(midResnets(config)[1], 1);
  for (const [i, { resnets, upsampler, channels }] of decoderLevels(config).entries()) {
    const pixels = 2 ** i;
    for (const block of resnets) stages.push(...resnetStages(block, pixels));
    if (upsampler === undefined) continue;
    stages.push({
      conv: upsampler,
      inChannels: channels,
      outChannels: channels,
      pixels: 2 * pixels,
      entry: "enlarge",
    });
  }
  stages.push({
    conv: "decoder.conv_out",
    norm: "decoder.conv_norm_out",
    inChannels: config.channels[0]!,
    outChannels: 3,
    pixels: config.scaleFactor,
    last: true,
  });
  return stages;
}
