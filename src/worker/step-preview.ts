import type { StepProgress } from "../pipeline/generate.ts";
import type { OpenPipeline } from "../pipeline/open.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** A preview's longest side, in latents: 256 pixels at 8 pixels a latent. */
const longestSide = 32;

/**
 * What the picture would be if the rest of the noise went straight out of it,
 * small: [3, H, W] in [0, 1], at most 256 pixels a side. The VAE itself decodes
 * it, so that any checkpoint's preview looks right.
 */
export function previewOf(pipeline: OpenPipeline, progress: StepProgress): Promise<Tensor> {
  return pipeline.decode(shrink(cleanLatents(progress)));
}

/** x₀ = x − σ·v, as x = (1 − σ)·x₀ + σ·noise and v = noise − x₀. */
function cleanLatents({ latents, noisePred, sigma }: StepProgress): Tensor {
  const data = latents.data.map((value, i) => value - sigma * noisePred.data[i]!);
  return { data, shape: latents.shape };
}

/** The mean of each square; what doesn't fill one at the right and at the bottom is left out. */
function shrink(latents: Tensor): Tensor {
  const [, channels, height, width] = latents.shape as [number, number, number, number]; // [1, channels, h, w]
  const factor = Math.ceil(Math.max(height, width) / longestSide);
  if (factor === 1) return latents;
  const rows = Math.floor(height / factor);
  const columns = Math.floor(width / factor);
  const data = new Float32Array(channels * rows * columns);
  for (let channel = 0; channel < channels; channel++)
    for (let y = 0; y < rows * factor; y++)
      for (let x = 0; x < columns * factor; x++) {
        const to = (channel * rows + Math.floor(y / factor)) * columns + Math.floor(x / factor);
        data[to]! += latents.data[(channel * height + y) * width + x]! / (factor * factor);
      }
  return { data, shape: [1, channels, rows, columns] };
}
