import { expect, test } from "vitest";
import { readGolden, toleranceOf } from "../../test/golden.ts";
import type { ToolSchedule } from "./schedules.ts";
import { autoShift, toolScheduleNames, toolSigmas } from "./schedules.ts";

interface Golden {
  schedules: { schedule: ToolSchedule; shift: number; steps: number; sigmas: number[] }[];
  auto_shifts: { width: number; height: number; shift: number }[];
}

/** What the tools' own functions answer, written by reference/goldens.py. */
const golden = readGolden<Golden>("tools.json");
const { atol } = toleranceOf("tools.json", "");

function farthest(ours: Float32Array, theirs: readonly number[]): number {
  expect(ours).toHaveLength(theirs.length);
  return Math.max(...theirs.map((sigma, i) => Math.abs(sigma - ours[i]!)));
}

test.each(toolScheduleNames)("%s is the tool's at every count of steps and shift", (name) => {
  const cases = golden.schedules.filter(({ schedule }) => schedule === name);
  expect(cases.length).toBeGreaterThan(50);
  for (const { sigmas, ...asked } of cases)
    expect(farthest(toolSigmas(asked), sigmas), JSON.stringify(asked)).toBeLessThanOrEqual(atol);
});

test("a strength below 1 keeps the last steps of a longer schedule", () => {
  const whole = toolSigmas({ schedule: "simple", steps: 10, shift: 3 });
  const part = toolSigmas({ schedule: "simple", steps: 5, shift: 3, denoise: 0.5 });
  expect(part).toEqual(whole.slice(-6));
});

test.each(golden.auto_shifts)("$width x $height shifts by itself", ({ width, height, shift }) => {
  expect(autoShift(width, height)).toBeCloseTo(shift, 9);
});
