import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Pace } from "./pace.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

test.each([
  [15_900, 8800, 8, ["ready after 16 s", "step 1 of 8 took 8.8 s: 62 s left at most"]],
  [900, 30_000, 9, ["step 1 of 9 took 30 s: 4 min left at most"]],
  [200, 300, 30, []],
  [200, 60_000, 1, []],
])("ready after %i ms, a step of %i ms, %i steps", (ready, step, total, said) => {
  const lines: string[] = [];
  const pace = new Pace((line) => lines.push(line));
  pace.begin("encoding");
  vi.advanceTimersByTime(ready);
  for (let i = 1; i <= total; i++) {
    pace.begin("step");
    vi.advanceTimersByTime(step);
    pace.end(i, total);
  }
  expect(lines).toEqual(said);
});

test.each([
  [null, []],
  [9.9, []],
  [130, ["about 2 min for 8 steps, by one product timed here"]],
])("steps of %s seconds in all", (seconds, said) => {
  const lines: string[] = [];
  new Pace((line) => lines.push(line)).expect(seconds, 8);
  expect(lines).toEqual(said);
});
