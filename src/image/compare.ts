import { ssim } from "ssim.js";
import type { Pixels } from "./encode-image.ts";

export interface Comparison {
  /** In dB over all channels, at most `mostPsnr`, which stands for equal pixels. */
  readonly psnr: number;
  /** Structural similarity of the grey pictures, 1 if equal; null: a side is shorter than its window. */
  readonly ssim: number | null;
  /** Of 255, over all channels. */
  readonly maxDifference: number;
}

/** JSON has no infinity, and a reader that asks for `psnr >= 34` needs a number. */
export const mostPsnr = 100;

/** Side of SSIM's Gaussian window, in pixels. */
const ssimWindow = 11;

/** @throws RangeError if the sizes differ */
export function comparePixels(a: Pixels, b: Pixels): Comparison {
  requireSameSize(a, b);
  let squares = 0;
  let maxDifference = 0;
  for (let i = 0; i < a.data.length; i++) {
    const difference = Math.abs(a.data[i]! - b.data[i]!);
    squares += difference * difference;
    if (difference > maxDifference) maxDifference = difference;
  }
  return { psnr: psnrOf(squares / a.data.length), ssim: similarity(a, b), maxDifference };
}

function psnrOf(meanSquare: number): number {
  return Math.min(mostPsnr, 10 * Math.log10((255 * 255) / meanSquare));
}

/**
 * Wang et al. 2004: an 11 x 11 Gaussian window of 1.5 pixels, no down-sampling, as scikit-image has
 * it with `gaussian_weights=True, use_sample_covariance=False`. The library's grey in whole numbers
 * is off by one, so its other one is taken; its results here are those of scikit-image.
 */
function similarity(a: Pixels, b: Pixels): number | null {
  if (Math.min(a.width, a.height) < ssimWindow) return null;
  return ssim(withAlpha(a), withAlpha(b), {
    ssim: "fast",
    rgb2grayVersion: "original",
    downsample: false,
  }).mssim;
}

/** The library takes what a browser's canvas gives. */
function withAlpha({ data, width, height }: Pixels) {
  const rgba = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let pixel = 0; pixel < width * height; pixel++) {
    for (let channel = 0; channel < 3; channel++) {
      rgba[4 * pixel + channel] = data[3 * pixel + channel]!;
    }
  }
  return { data: rgba, width, height };
}

export interface BlockComparison {
  /** In dB, of the blocks' means, at most `mostPsnr`. */
  readonly psnr: number;
  /** Of one channel's mean in one block, of 255. */
  readonly maxDifference: number;
}

/** Side of a block, in pixels: that of a JPEG's chroma block and of WebP's macroblock. */
const blockSide = 16;

/**
 * Compares the mean colours of blocks of 16 x 16 pixels. An encoder that rounds a pixel the other
 * way changes much inside of a block and little of its mean, while other settings change the
 * means: this tells the two apart where the pixels can't. Blocks that the edge cuts count as well.
 *
 * @throws RangeError if the sizes differ
 */
export function compareBlocks(a: Pixels, b: Pixels): BlockComparison {
  requireSameSize(a, b);
  let squares = 0;
  let maxDifference = 0;
  let blocks = 0;
  for (let top = 0; top < a.height; top += blockSide) {
    for (let left = 0; left < a.width; left += blockSide) {
      for (const sum of blockDifference(a, b, top, left)) {
        const difference = Math.abs(sum);
        squares += difference * difference;
        if (difference > maxDifference) maxDifference = difference;
        blocks++;
      }
    }
  }
  return { psnr: psnrOf(squares / blocks), maxDifference };
}

/** Difference of the means of one block, for each channel. */
function blockDifference(a: Pixels, b: Pixels, top: number, left: number): number[] {
  const bottom = Math.min(top + blockSide, a.height);
  const right = Math.min(left + blockSide, a.width);
  const sums = [0, 0, 0];
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      const pixel = 3 * (y * a.width + x);
      for (let channel = 0; channel < 3; channel++) {
        sums[channel]! += a.data[pixel + channel]! - b.data[pixel + channel]!;
      }
    }
  }
  return sums.map((sum) => sum / ((bottom - top) * (right - left)));
}

function requireSameSize(a: Pixels, b: Pixels): void {
  if (a.width === b.width && a.height === b.height) return;
  throw new RangeError(`${a.width} x ${a.height} against ${b.width} x ${b.height} pixels`);
}
