import { readFileSync } from "node:fs";
import { join } from "node:path";
import { decodeImage } from "../src/image/decode-image.ts";
import type { Pixels } from "../src/image/encode-image.ts";
import { toPixels } from "../src/image/encode-image.ts";
import type { Tensor } from "../src/tensor/tensor.ts";

const jobs = join(import.meta.dirname, "jobs");

/** Whole job folders, as ai-toolkit wrote them. */
export const jobFolders: string = join(jobs, "folders");

/**
 * How far a retake is from the trainer's own picture before it encoded that, of 255.
 *
 * @param preview `samples/…`
 */
export function fromTruth(job: string, preview: string, image: Tensor): Promise<Distance> {
  return pixelsFromTruth(job, preview, toPixels(image));
}

interface Distance {
  readonly max: number;
  readonly psnr: number;
}

export async function pixelsFromTruth(
  job: string,
  preview: string,
  ours: Pixels,
): Promise<Distance> {
  const name = preview.replace(/^samples\//, "").replace(/\.\w+$/, ".png");
  const theirs = await decodeImage(readFileSync(join(jobs, "truth", job, name)), name);
  if (ours.width !== theirs.width || ours.height !== theirs.height) return { max: 255, psnr: 0 };
  let max = 0;
  let squares = 0;
  for (let i = 0; i < ours.data.length; i++) {
    const difference = Math.abs(ours.data[i]! - theirs.data[i]!);
    max = Math.max(max, difference);
    squares += difference ** 2;
  }
  const psnr = squares === 0 ? 100 : 10 * Math.log10((255 ** 2 * ours.data.length) / squares);
  return { max, psnr };
}
