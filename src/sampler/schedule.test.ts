import { expect, test } from "vitest";
import { readGolden } from "../../test/golden.ts";
import type { Profile } from "../models/profiles.ts";
import { flowMatchSchedule } from "./schedule.ts";

type Golden = { shift: number; steps: number; sigmas: number[]; timesteps: number[] }[];

/** scheduler.sigmas and .timesteps of the real pipelines, written by reference/goldens.py. */
const schedules = readGolden<Record<Profile["schedule"], Golden>>("schedules.json");

test.each(["pin", "head"] as const)(
  "%s sigmas and timesteps are diffusers', bit by bit",
  (kind) => {
    for (const { shift, steps, sigmas, timesteps } of schedules[kind]) {
      const ours = flowMatchSchedule({ steps, shift, kind });
      expect(ours.sigmas, `${steps} steps`).toEqual(Float32Array.from(sigmas));
      expect(ours.timesteps, `${steps} steps`).toEqual(Float32Array.from(timesteps));
    }
  },
);

// diffusers 0.42.1: FlowMatchEulerDiscreteScheduler(shift=...), sigmas=torch.linspace(1, 1 / N, N).tolist()
test.each([
  [3.1, [1, 0.925373197, 0.823008835, 0.673913062, 0.436619729, 0]],
  [1.15, [1, 0.775280893, 0.534883678, 0.277108431, 0]],
])("a shift of %d, which f32 can't hold", (shift, sigmas) => {
  const ours = flowMatchSchedule({ steps: sigmas.length - 1, shift, kind: "head" });
  expect(ours.sigmas).toEqual(Float32Array.from(sigmas));
});
