import { randn } from "../sampler/noise.ts";
import { philoxRandn } from "../sampler/philox.ts";
import type { SamplerName } from "../sampler/samplers.ts";
import type { Schedule } from "../sampler/schedule.ts";
import { roundToDtype } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** How another tool draws its noise. */
export interface NoiseSource {
  /** `cpu`: torch's CPU generator, every preview's; `philox`: a graphics card's, or a copy of it. */
  readonly generator: "cpu" | "philox";
  /** Of `philox`: how many threads the card runs at once; without it as many as there are values. */
  readonly threads?: number;
  /** Rounded to bf16 after it is drawn. */
  readonly bf16?: boolean;
}

/**
 * What other tools make of a request and no profile does. It serves comparisons with their
 * pictures; no client can ask for it.
 */
export interface Meaning {
  /** [updates + 1], down to 0: takes the place of the profile's schedule. */
  readonly sigmas?: readonly number[];
  /** The w of `pos + w·(pos - neg)`; 0: one pass. Takes the place of the profile's. */
  readonly guidanceWeight?: number;
  readonly noise?: NoiseSource;
  /** `zeros`: the negative prompt's embeds are zeros, as long as the prompt's. */
  readonly negative?: "zeros";
  readonly sampler?: SamplerName;
}

/** The noise to start from; its first level scales it where it is below 1, as on an empty latent. */
export function drawNoise(
  seed: bigint,
  shape: readonly number[],
  source: NoiseSource | undefined,
  schedule: Schedule,
): Tensor {
  const noise =
    source?.generator === "philox" ? philoxRandn(seed, shape, source.threads) : randn(seed, shape);
  if (source?.bf16 === true) roundToDtype(noise.data, "BF16");
  const first = schedule.sigmas[0]!;
  return first === 1 ? noise : { data: noise.data.map((value) => value * first), shape };
}

/** Timesteps are 1000·sigma, in f32. */
export function scheduleOf(sigmas: readonly number[]): Schedule {
  const levels = Float32Array.from(sigmas);
  return { sigmas: levels, timesteps: levels.slice(0, -1).map((sigma) => sigma * 1000) };
}

/** Prompt embeds of nothing, as long as the prompt's. */
export function zerosLike({ data, shape }: Tensor): Tensor {
  return { data: new Float32Array(data.length), shape };
}
