import sharp from "sharp";
import { toPixels } from "../src/image/encode-image.ts";
import type { OpenPipeline } from "../src/pipeline/open.ts";
import type { Tensor } from "../src/tensor/tensor.ts";

/** A preview as its configuration asks for it, and what the trainer's pipeline made of that. */
export interface TrainerCase {
  readonly picture: string;
  readonly prompt: string;
  readonly negative: string;
  readonly width: number;
  readonly height: number;
  readonly steps: number;
  readonly guidance: number;
  readonly multiplier: number;
  readonly seed: number;
  readonly drawn: readonly [width: number, height: number];
  readonly sigmas: readonly number[];
  readonly updates: number;
  /** The guidance scale that diffusers' pipeline was handed. */
  readonly handed: number;
}

/** A case as a request. */
export function asked(
  { prompt, negative, width, height, steps, guidance, multiplier, seed }: TrainerCase,
  lora: string,
): Omit<Parameters<OpenPipeline["generate"]>[0], "profile"> {
  return {
    prompt,
    negativePrompt: negative,
    loras: [{ path: lora, multiplier }],
    width,
    height,
    steps,
    guidanceScale: guidance,
    seed: BigInt(seed),
  };
}

/** Largest difference from the trainer's own picture, in 8-bit steps; 255 if the size is another. */
export async function farthest(image: Tensor, picture: string): Promise<number> {
  const ours = toPixels(image);
  const { data, info } = await sharp(picture)
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  if (info.width !== ours.width || info.height !== ours.height) return 255;
  return data.reduce((most, value, i) => Math.max(most, Math.abs(value - ours.data[i]!)), 0);
}
