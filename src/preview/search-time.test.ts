import { expect, test } from "vitest";
import { searchEnd } from "./search-time.ts";

const minute = 60_000;

test("a limit counts from the start, for pictures and causes together", () => {
  expect(searchEnd(5 * minute, 7 * minute, 180)).toBe(8 * minute);
});

test("without one the search takes no longer than the pictures did, or half an hour", () => {
  expect(searchEnd(0, 90 * minute, undefined)).toBe(180 * minute);
  expect(searchEnd(5 * minute, 6 * minute, undefined)).toBe(36 * minute);
});
