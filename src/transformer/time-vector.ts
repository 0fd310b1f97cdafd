import type { Tensor } from "../tensor/tensor.ts";
import { timeVectorDim } from "./weight-shapes.ts";

const { fround } = Math;

/**
 * The sinusoidal vectors that tell the network how far denoising has come: per
 * timestep T the value a = (1000 - T)/1000 · timeScale, then cos(a·f_k) and
 * sin(a·f_k) with f_k = 10000^(-k/128). Each operation rounds to f32, as
 * diffusers' `TimestepEmbedder.timestep_embedding` does.
 *
 * @param timesteps [steps], 1000·sigma
 * @returns [steps, 256]
 */
export function timeVectors(timesteps: Float32Array, timeScale: number): Tensor {
  const half = timeVectorDim / 2;
  const data = new Float32Array(timesteps.length * timeVectorDim);
  for (const [row, timestep] of timesteps.entries()) {
    const time = fround(fround(fround(1000 - timestep) / 1000) * timeScale);
    for (let k = 0; k < half; k++) {
      const frequency = fround(Math.exp(fround(fround(fround(-Math.log(10000)) * k) / half)));
      const angle = fround(time * frequency);
      data[row * timeVectorDim + k] = Math.cos(angle);
      data[row * timeVectorDim + half + k] = Math.sin(angle);
    }
  }
  return { data, shape: [timesteps.length, timeVectorDim] };
}
