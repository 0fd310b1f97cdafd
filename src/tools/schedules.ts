import { betaQuantile } from "./beta-quantile.ts";

/** Noise levels from 1 down to 0, as tools name them; `linear` is diffusers' own. */
export const toolScheduleNames = [
  "linear",
  "discrete",
  "simple",
  "sgm_uniform",
  "normal",
  "beta",
  "ddim_uniform",
  "karras",
  "exponential",
] as const;
export type ToolSchedule = (typeof toolScheduleNames)[number];

const { fround } = Math;
/** The noise levels that the model was trained with. */
const levels = 1000;

/** s·u / (1 + (s-1)·u), each operation in f32, as torch does it. */
function shifted(shift: number, u: number): number {
  const s = fround(shift);
  return fround(fround(s * fround(u)) / fround(1 + fround(fround(shift - 1) * fround(u))));
}

/**
 * The sigmas that a tool makes of a schedule's name, steps, shift and denoising strength; within
 * 1e-6 of what its own code gives.
 *
 * `linear` is diffusers from 0.39 on, InvokeAI and Retake's `head`; `discrete` sd.cpp's default; the
 * others are ComfyUI's (a125cd84, comfy/samplers.py), which Forge and SwarmUI share and sd.cpp copies
 * (`simple`).
 *
 * @param denoise below 1: the last `steps` of the schedule of int(steps / denoise) steps
 * @returns [updates + 1], the last one 0; fewer than steps where a schedule repeats levels
 */
export function toolSigmas(options: {
  readonly schedule: ToolSchedule;
  readonly steps: number;
  readonly shift: number;
  readonly denoise?: number;
}): Float32Array<ArrayBuffer> {
  const { schedule, steps, shift, denoise = 1 } = options;
  if (denoise > 0.9999) return Float32Array.from([...levelsOf(schedule, steps, shift), 0]);
  const whole = [...levelsOf(schedule, Math.floor(steps / denoise), shift), 0];
  return Float32Array.from(whole.slice(-(steps + 1)));
}

/** Without the 0 at the end. */
function levelsOf(schedule: ToolSchedule, steps: number, shift: number): number[] {
  const sigma = (u: number) => shifted(shift, u);
  /** The model's level t of 1 to 1000. */
  const level = (t: number) => sigma(t / levels);
  const all = <T>(count: number, value: (i: number) => T) =>
    Array.from({ length: count }, (_, i) => value(i));
  const smallest = level(1);
  switch (schedule) {
    case "linear":
      return all(steps, (i) => sigma(1 - i / steps));
    case "discrete":
      return all(steps, (i) =>
        level(steps === 1 ? levels : levels - ((levels - 1) / (steps - 1)) * i),
      );
    case "simple":
      return all(steps, (i) => level(levels - Math.floor(i * (levels / steps))));
    // The ends are noise levels and are shifted once more: ComfyUI's `timestep` undoes no shift.
    case "sgm_uniform":
      return all(steps, (i) => sigma(1 + ((smallest - 1) * i) / steps));
    case "normal":
      return all(steps, (i) => sigma(steps === 1 ? 1 : 1 + ((smallest - 1) * i) / (steps - 1)));
    case "beta": {
      // Level t stands at place t - 1 of ComfyUI's table.
      const places = all(steps, (i) => Math.round(betaQuantile(1 - i / steps, 0.6) * (levels - 1)));
      return places.filter((place, i) => place !== places[i - 1]).map((place) => level(place + 1));
    }
    case "ddim_uniform": {
      const stride = Math.max(1, Math.floor(levels / steps));
      return all(Math.ceil((levels - 1) / stride), (i) => level(2 + i * stride)).reverse();
    }
    case "karras": {
      const root = (value: number) => value ** (1 / 7);
      const ramp = (i: number) => (steps === 1 ? 0 : i / (steps - 1));
      return all(steps, (i) => (1 + ramp(i) * (root(smallest) - 1)) ** 7);
    }
    case "exponential":
      return all(steps, (i) =>
        steps === 1 ? 1 : Math.exp((Math.log(smallest) * i) / (steps - 1)),
      );
  }
}

/**
 * The shift that InvokeAI ("auto"), mflux and diffusers' dynamic shifting derive from a size:
 * exp(mu), mu linear from 0.5 at 256 patches of 16 x 16 pixels to 1.15 at 4096.
 */
export function autoShift(width: number, height: number): number {
  const patches = Math.floor(width / 16) * Math.floor(height / 16);
  const slope = (1.15 - 0.5) / (4096 - 256);
  return Math.exp(0.5 + (patches - 256) * slope);
}
