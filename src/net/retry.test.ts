import { expect, test } from "vitest";
import { retryAfterMs } from "./retry.ts";

const now = Date.parse("2026-11-23T10:00:00Z");

test.each([
  ["0", 0],
  ["120", 120_000],
  ["Mon, 23 Nov 2026 10:00:30 GMT", 30_000],
  ["Mon, 23 Nov 2026 09:00:00 GMT", 0],
  ["-1", undefined],
  ["soon", undefined],
  [undefined, undefined],
])("%s", (value, ms) => expect(retryAfterMs(value, now)).toBe(ms));
