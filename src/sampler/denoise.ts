import { stopPoint } from "../stop-point.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Schedule } from "./schedule.ts";

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
  readonly signal?: AbortSignal | undefined;
  readonly onStep: (step: Step) => Promise<void> | void;
}

/**
 * From noise to latents by Euler steps. A step whose sigma stays the same would
 * change nothing: it is not computed.
 *
 * @throws CanceledError before the next step once the signal is set
 */
export async function denoise(options: DenoiseOptions): Promise<Tensor> {
  const { schedule, predict, signal, onStep } = options;
  const { sigmas } = schedule;
  const useful = Array.from(schedule.timesteps.keys()).filter((i) => sigmas[i] !== sigmas[i + 1]);
  let latents = options.latents;
  for (const [step, i] of useful.entries()) {
    await stopPoint(signal);
    const noisePred = await predict(latents, i);
    latents = eulerStep(latents, noisePred, sigmas[i]!, sigmas[i + 1]!);
    await onStep({ step, total: useful.length, noisePred, latents, sigma: sigmas[i + 1]! });
  }
  await stopPoint(signal);
  return latents;
}

/** x + (σ' - σ)·v in f32, the product rounded before the sum, as diffusers' scheduler does. */
function eulerStep(latents: Tensor, noisePred: Tensor, sigma: number, nextSigma: number): Tensor {
  const { fround } = Math;
  const dt = fround(nextSigma - sigma);
  const data = new Float32Array(latents.data.length);
  for (let i = 0; i < data.length; i++) {
    data[i] = latents.data[i]! + fround(dt * noisePred.data[i]!);
  }
  return { data, shape: latents.shape };
}
