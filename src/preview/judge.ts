import { compareBlocks, comparePixels } from "../image/compare.ts";
import { decodeImage } from "../image/decode-image.ts";
import type { ImageFormat } from "../image/encode-image.ts";
import { encodeAsTrainer, toPixels } from "../image/encode-image.ts";
import { sameQuality } from "../image/jpeg-tables.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * How near a right retake comes: `exact`, the job and its LoRA file are in float32; `rounded-lora`,
 * the job was in float32, the file holds 16 bits; `bf16`, the job was; `quantised`, its weights were.
 */
export type Expectation = "exact" | "rounded-lora" | "bf16" | "quantised";

export interface Judgement {
  /**
   * `equal`: within the encoder's rounding of the trainer's own picture. `close`: what bf16 or
   * rounded weights explain, for such jobs only. `different`: neither.
   */
  readonly verdict: "equal" | "close" | "different";
  /** In dB, 100 at most; null if the sizes differ. All three compare the files' pixels, both decoded here. */
  readonly psnr: number | null;
  /** 1: equal; null if the sizes differ. */
  readonly ssim: number | null;
  /** Of 255; null if the sizes differ. */
  readonly maxDifference: number | null;
  /** Why the verdict is what it is, where the figures alone don't say it. */
  readonly reason: string | null;
}

interface Limits {
  /** Least PSNR of the pixels and of the means of 16 x 16 blocks, in dB. */
  readonly pixels: number;
  readonly blocks: number;
  /** Most that one block's mean may differ, of 255. */
  readonly blockDifference: number;
}

/**
 * Within them a retake is `equal`. Measured on 193 exact retakes of float32 jobs (45 of them with
 * the LoRA rounded to 16 bits: 67 dB and 4 of 255 before encoding), each encoded in every format,
 * and on 1,131 retakes with one setting wrong (multiplier by 1 % to all of it, guidance by 2 % to
 * 1, steps, seed, LoRA, trigger, a dot behind the prompt) that differ by more than 1 of 255:
 *
 * | | exact: worst pixels / blocks / block | wrong: best pixels / blocks |
 * |---|---|---|
 * | PNG | 67.2 / 79.8 / 0.5 | 61.5 / 74.2 |
 * | JPEG | 48.4 / 62.6 / 2.9 | 52.1 / 63.8, the next 62.3 |
 * | WebP | 37.5 / 54.2 / 2.2 | 49.4 / 62.9 |
 *
 * Of the wrong ones 3 pass as a PNG, 7 as a JPEG (all at least 56 dB from the exact picture before
 * encoding: at most 8 of 255, in a few pixels) and 59 as a WebP (at least 50 dB). The means of the
 * blocks tell them apart; the pixels' limits are wider than exact retakes need, for another
 * device's rounding: noise of 0.2 of 255 passes in 45 of 46 pictures.
 */
const equalLimits: Readonly<Record<ImageFormat, Limits>> = {
  png: { pixels: 55, blocks: 72, blockDifference: 1 },
  jpeg: { pixels: 40, blocks: 60, blockDifference: 3.5 },
  webp: { pixels: 34, blocks: 53, blockDifference: 3 },
};

/**
 * In dB of the blocks. Whole changes of norms (`.diff`) that were rounded to 16 bits move a picture by
 * 2 of 255, 60.4 dB before encoding, and the blocks of its JPEG by 59.6 dB; pairs of matrices move less.
 */
const roundedLoraAllowance = 1;

/**
 * Within them a retake is `close`. The trainer's own bf16 previews, taken again in f32, had at least
 * 36.8 dB (blocks 46.3) in 30 pictures, its quantised ones, their rounding copied, 34.2 dB (40.4) in
 * 50. The limits leave room for jobs that are not those. So a small error is `close` as well: of such
 * pictures with one wrong setting, guidance by 1 passes in 0 of 30 (quantised: 15 of 50), a multiplier
 * by 10 % in 1 of 20 (7 of 36), a step more in 23 of 30 (28 of 50), another seed in 2 of 30 (4 of 50), no LoRA in
 * none. Only trying tells: no wrong setting was nearer than the right one by more than 0.5 dB, and
 * 95 of 100 that passed were further by 1 dB or more, half of them by 4.
 */
const closeLimits: Readonly<Record<"bf16" | "quantised", Limits>> = {
  bf16: { pixels: 33, blocks: 40, blockDifference: 255 },
  quantised: { pixels: 31, blocks: 36, blockDifference: 255 },
};

/**
 * Compares a preview with its retake, encoded as the trainer encodes and decoded again, since a
 * picture differs from its own JPEG by up to 80 of 255.
 *
 * @param preview its name is for the message
 * @param image the retake, [3, H, W] in [0, 1]
 * @throws InputError naming the file if the preview can't be decoded
 */
export async function judge(
  preview: { readonly file: string; readonly bytes: Uint8Array },
  image: Tensor,
  expected: Expectation,
): Promise<Judgement> {
  const theirs = await decodeImage(preview.bytes, preview.file);
  const retake = toPixels(image);
  if (theirs.width !== retake.width || theirs.height !== retake.height) {
    const reason =
      `The preview has ${theirs.width} x ${theirs.height} pixels, the retake ` +
      `${retake.width} x ${retake.height}.`;
    return { verdict: "different", psnr: null, ssim: null, maxDifference: null, reason };
  }
  const encoded = await encodeAsTrainer(retake, theirs.format);
  const ours = await decodeImage(encoded, "the retake");
  const figures = comparePixels(theirs, ours);
  const blocks = compareBlocks(theirs, ours);
  const within = (limits: Limits, allowance = 0) =>
    figures.psnr >= limits.pixels &&
    blocks.psnr >= limits.blocks - allowance &&
    blocks.maxDifference <= limits.blockDifference;

  if (within(equalLimits[theirs.format], expected === "rounded-lora" ? roundedLoraAllowance : 0)) {
    // WebP's encoder chooses block by block: one pixel that is off by one may change all that follow.
    const noisy = theirs.format === "webp" && figures.psnr < usualPsnr;
    const reason = noisy
      ? "WebP's encoder made the pixels differ: the means of its blocks agree, so the pictures before it did."
      : null;
    return { verdict: "equal", ...figures, reason };
  }
  if (theirs.format === "jpeg" && !sameQuality(preview.bytes, encoded)) {
    return { verdict: "different", ...figures, reason: savedAgain };
  }
  if ((expected === "bf16" || expected === "quantised") && within(closeLimits[expected])) {
    return { verdict: "close", ...figures, reason: closeReasons[expected] };
  }
  return { verdict: "different", ...figures, reason: null };
}

/** In dB; an equal retake of a JPEG has at least so much. */
const usualPsnr = 46;

const savedAgain =
  "The preview was saved again by another program: its JPEG quality is not the trainer's, so the figures " +
  "say little. Take the file that the trainer wrote.";

const closeReasons = {
  bf16: "The job ran in bf16: its rounding, which is not repeated, explains what is left.",
  quantised:
    "The job ran with rounded weights in bf16: the rounding of its arithmetic explains what is left.",
} as const;
