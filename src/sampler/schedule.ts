/** `pin`: diffusers up to 0.38, N steps make N-1 useful updates. `head`: from 0.39 on, N updates. */
export type ScheduleKind = "pin" | "head";

export interface Schedule {
  /** [steps + 1], from 1 down to 0. */
  readonly sigmas: Float32Array<ArrayBuffer>;
  /** [steps], 1000·sigma. */
  readonly timesteps: Float32Array<ArrayBuffer>;
}

const { fround } = Math;
const trainTimesteps = 1000;

/**
 * The sigmas of diffusers' FlowMatchEulerDiscreteScheduler as ZImagePipeline
 * calls it, without dynamic shifting: u shifted to s·u / (1 + (s-1)·u).
 */
export function flowMatchSchedule(options: {
  readonly steps: number;
  readonly shift: number;
  readonly kind: ScheduleKind;
}): Schedule {
  const { steps, shift, kind } = options;
  const sigmas = new Float32Array(steps + 1);
  const timesteps = new Float32Array(steps);
  for (let i = 0; i < steps; i++) {
    const sigma = kind === "pin" ? pinSigma(i, steps, shift) : headSigma(i, steps, shift);
    sigmas[i] = sigma;
    timesteps[i] = sigmas[i]! * trainTimesteps;
  }
  return { sigmas, timesteps };
}

/** f64 linspace(1, 0, N), shifted in f64. */
function pinSigma(i: number, steps: number, shift: number): number {
  const u = steps === 1 ? 1 : i === steps - 1 ? 0 : 1 + i * (-1 / (steps - 1));
  return (shift * u) / (1 + (shift - 1) * u);
}

/** f32 linspace(1, 1/N, N) as torch computes it, from both ends; shifted in f32. */
function headSigma(i: number, steps: number, shift: number): number {
  const end = fround(1 / steps);
  const step = steps === 1 ? 0 : fround(fround(end - 1) / (steps - 1));
  const u =
    i < steps / 2 ? fround(1 + fround(step * i)) : fround(end - fround(step * (steps - 1 - i)));
  return fround(fround(shift * u) / fround(1 + fround((shift - 1) * u)));
}
