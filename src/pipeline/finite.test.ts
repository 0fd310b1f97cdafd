import { expect, test } from "vitest";
import { requireAnswer } from "./finite.ts";

const answer = (...values: number[]) => ({
  data: Float32Array.from(values),
  shape: [values.length],
});

test("a device that answers zeros alone has failed; the CPU never does", () => {
  expect(() => requireAnswer(answer(0, -0, 0), "webgpu")).toThrow(/webgpu: the device failed/);
  expect(() => requireAnswer(answer(0, 0, 1e-30), "webgpu")).not.toThrow();
  expect(() => requireAnswer(answer(0, 0), "cpu")).not.toThrow();
});
