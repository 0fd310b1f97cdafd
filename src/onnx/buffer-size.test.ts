import { expect, test } from "vitest";
import { bufferBytes } from "./buffer-size.ts";

test("a tensor takes the next size that the runtime keeps, or its own where none is as large", () => {
  expect(bufferBytes(1)).toBe(64);
  expect(bufferBytes(64)).toBe(64);
  // A matrix of the real model's feed-forward in f16, and in f32.
  expect(bufferBytes(2 * 10240 * 3840)).toBe(2 ** 27);
  expect(bufferBytes(4 * 10240 * 3840)).toBe(167_772_160);
  expect(bufferBytes(2 ** 28)).toBe(2 ** 28);
});
