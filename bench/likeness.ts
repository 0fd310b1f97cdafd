import { ssim } from "ssim.js";
import type { Tensor } from "../src/tensor/tensor.ts";

/** Peak signal-to-noise ratio in dB of pictures in [0, 1]. */
export function psnr(a: Tensor, b: Tensor): number {
  const sum = a.data.reduce((total, value, i) => total + (value - b.data[i]!) ** 2, 0);
  return 10 * Math.log10(a.data.length / sum);
}

/** SSIM of the pictures as files hold them. */
export function similarity(a: Tensor, b: Tensor): number {
  return ssim(pixels(a), pixels(b)).mssim;
}

/** [3, H, W] in [0, 1] as the bytes that a picture file would hold. */
function pixels({ data, shape }: Tensor) {
  const [, height, width] = shape as [number, number, number];
  const bytes = new Uint8ClampedArray(4 * width * height).fill(255);
  const size = width * height;
  for (let i = 0; i < 3 * size; i++) bytes[4 * (i % size) + Math.floor(i / size)] = 255 * data[i]!;
  return { data: bytes, width, height };
}
