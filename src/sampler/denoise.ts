import { stopPoint } from "../stop-point.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { SamplerName, Weights } from "./samplers.ts";
import { multistepWeights } from "./samplers.ts";
import type { Schedule } from "./schedule.ts";
import { usefulSteps } from "./schedule.ts";

const { fround } = Math;

/** Classifier-free guidance as Z-Image's pipeline has it: pos + w·(pos - neg), each operation in f32. */
export function guide(positive: Tensor, negative: Tensor, weight: number): Tensor {
  const data = new Float32Array(positive.data.length);
  const scale = fround(weight);
  for (let i = 0; i < data.length; i++) {
    const pos = positive.data[i]!;
    data[i] = pos + fround(scale * fround(pos - negative.data[i]!));
  }
  return { data, shape: positive.shape };
}

/** The network predicts the way to the picture; the schedule wants the way to the noise. */
export function negate({ data, shape }: Tensor): Tensor {
  return { data: data.map((value) => -value), shape };
}

interface Step {
  /** Counts useful steps from 0. */
  readonly step: number;
  readonly total: number;
  readonly noisePred: Tensor;
  /** After the step. */
  readonly latents: Tensor;
  /** Noise level after the step. */
  readonly sigma: number;
}

export interface DenoiseOptions {
  /** The noise to start from, [1, channels, height, width]. */
  readonly latents: Tensor;
  readonly schedule: Schedule;
  /** noisePred for the latents at a step of the schedule; same shape. */
  readonly predict: (latents: Tensor, stepIndex: number) => Promise<Tensor>;
  /** `euler` if it is left out. */
  readonly sampler?: SamplerName | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onStep: (step: Step) => Promise<void> | void;
}

/**
 * From noise to latents. A step whose sigma stays the same would change nothing:
 * it is not computed.
 *
 * @throws CanceledError before the next step once the signal is set
 */
export async function denoise(options: DenoiseOptions): Promise<Tensor> {
  const { schedule, predict, sampler = "euler", signal, onStep } = options;
  const { sigmas } = schedule;
  const useful = usefulSteps(schedule);
  let latents = options.latents;
  let earlier: { readonly picture: Tensor; readonly sigma: number } | null = null;
  for (const [step, i] of useful.entries()) {
    await stopPoint(signal);
    const noisePred = await predict(latents, i);
    const sigma = sigmas[i]!;
    const next = sigmas[i + 1]!;
    if (sampler === "heun" && next !== 0) {
      await stopPoint(signal);
      const ahead = await predict(eulerStep(latents, noisePred, sigma, next), i + 1);
      latents = eulerStep(latents, meanOf(noisePred, ahead), sigma, next);
    } else if (sampler === "res_multistep" || sampler === "dpmpp_2m") {
      // x - sigma·v: the picture that this step foresees.
      const picture = eulerStep(latents, noisePred, sigma, 0);
      const weights = multistepWeights(sampler, earlier?.sigma ?? null, sigma, next);
      latents =
        weights === null || earlier === null
          ? eulerStep(latents, noisePred, sigma, next)
          : weightedSum(weights, latents, picture, earlier.picture);
      earlier = { picture, sigma };
    } else {
      latents = eulerStep(latents, noisePred, sigma, next);
    }
    await onStep({ step, total: useful.length, noisePred, latents, sigma: next });
  }
  await stopPoint(signal);
  return latents;
}

/** x + (σ' - σ)·v in f32, the product rounded before the sum, as diffusers' scheduler does. */
function eulerStep(latents: Tensor, noisePred: Tensor, sigma: number, nextSigma: number): Tensor {
  const dt = fround(nextSigma - sigma);
  const data = new Float32Array(latents.data.length);
  for (let i = 0; i < data.length; i++) {
    data[i] = latents.data[i]! + fround(dt * noisePred.data[i]!);
  }
  return { data, shape: latents.shape };
}

function meanOf(a: Tensor, b: Tensor): Tensor {
  return { data: a.data.map((value, i) => fround(value + b.data[i]!) / 2), shape: a.shape };
}

function weightedSum(
  { x, current, previous }: Weights,
  latents: Tensor,
  picture: Tensor,
  before: Tensor,
): Tensor {
  const data = latents.data.map(
    (value, i) => x * value + current * picture.data[i]! + previous * before.data[i]!,
  );
  return { data, shape: latents.shape };
}
