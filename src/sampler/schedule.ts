import { z } from "zod";
import type { Profile } from "../models/profiles.ts";
import { parseConfig } from "../weights/parse-config.ts";

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
  /** `pin`: as diffusers up to 0.38; `head`: from 0.39 on. */
  readonly kind: Profile["schedule"];
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

/** Steps of a schedule, from 0, that change something: those at whose end the noise level is another. */
export function usefulSteps({ sigmas, timesteps }: Schedule): number[] {
  return Array.from(timesteps.keys()).filter((i) => sigmas[i] !== sigmas[i + 1]);
}

/** f64 linspace(1, 0, N), shifted in f64. */
function pinSigma(i: number, steps: number, shift: number): number {
  const u = steps === 1 ? 1 : i === steps - 1 ? 0 : 1 + i * (-1 / (steps - 1));
  return (shift * u) / (1 + (shift - 1) * u);
}

/**
 * torch.linspace(1, 1/N, N) in f32: from both ends, the product and sum of each
 * value rounded once (compilers fuse them), which f64 holds exactly. Shifted in
 * f32 by numpy, for which the shift itself is an f32.
 * Source: ATen/native/cpu/RangeFactoriesKernel.cpp, torch 2.13.
 */
function headSigma(i: number, steps: number, shift: number): number {
  const end = fround(1 / steps);
  const step = steps === 1 ? 0 : fround(fround(end - 1) / (steps - 1));
  const u = i < Math.floor(steps / 2) ? fround(1 + step * i) : fround(end - step * (steps - 1 - i));
  const shifted = fround(fround(shift) * u);
  return fround(shifted / fround(1 + fround(fround(shift - 1) * u)));
}

const off = z.union([z.literal(false), z.null()]).optional();

/** `scheduler/scheduler_config.json`: a plain FlowMatchEuler schedule. What would change it is refused. */
const schema = z.object({
  _class_name: z.literal("FlowMatchEulerDiscreteScheduler"),
  num_train_timesteps: z.literal(1000).default(1000),
  shift: z.number().positive().default(1),
  use_dynamic_shifting: off,
  use_karras_sigmas: off,
  use_exponential_sigmas: off,
  use_beta_sigmas: off,
  invert_sigmas: off,
  stochastic_sampling: off,
  shift_terminal: off,
});

/** @throws InputError naming the file and each setting that is not supported. */
export function parseSchedulerConfig(json: unknown, file: string): { shift: number } {
  const config = parseConfig(schema, json, file, "a schedule that Retake computes");
  return { shift: config.shift };
}
