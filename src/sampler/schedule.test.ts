import { expect, test } from "vitest";
import { readGolden } from "../../test/golden.ts";
import type { ScheduleKind } from "./schedule.ts";
import { flowMatchSchedule } from "./schedule.ts";

type Golden = { shift: number; steps: number; sigmas: number[]; timesteps: number[] }[];

/** scheduler.sigmas and .timesteps of the real pipelines, written by reference/goldens.py. */
const schedules = readGolden<Record<ScheduleKind, Golden>>("schedules.json");

test.each(["pin", "head"] as const)("%s sigmas and timesteps equal diffusers'", (kind) => {
  for (const { shift, steps, sigmas, timesteps } of schedules[kind]) {
    const ours = flowMatchSchedule({ steps, shift, kind });
    const shape = (values: { length: number }) => [values.length];
    expect({ data: ours.sigmas, shape: shape(ours.sigmas) }).toBeAllclose(
      { data: sigmas, shape: shape(sigmas) },
      { atol: 1e-6, rtol: 0 },
    );
    expect({ data: ours.timesteps, shape: shape(ours.timesteps) }).toBeAllclose(
      { data: timesteps, shape: shape(timesteps) },
      { atol: 1e-6, rtol: 1e-6 },
    );
  }
});
