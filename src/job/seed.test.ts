import { expect, test } from "vitest";
import { generateRequestSchema } from "./request.ts";
import { chooseSeed, largestSeed, seedOfText, seedTextSchema, seedToText } from "./seed.ts";

test("a prompt without a seed takes 42 and its index; what is asked for stays, 0 and the largest too", () => {
  expect([0, 1, 63].map((index) => chooseSeed(null, index))).toEqual([42n, 43n, 105n]);
  for (const seed of [0n, 7n, 2n ** 53n + 1n, largestSeed]) expect(chooseSeed(seed, 5)).toBe(seed);
});

test("-1 draws: another one each time, below 2^31 - 1, over its whole range", () => {
  const drawn = Array.from({ length: 2000 }, () => chooseSeed(-1n, 0));
  expect(new Set(drawn).size).toBeGreaterThan(1990);
  expect(drawn.every((seed) => seed >= 0n && seed < 2_147_483_647n)).toBe(true);
  expect(drawn.some((seed) => seed > 2_000_000_000n)).toBe(true);
  expect(drawn.some((seed) => seed < 150_000_000n)).toBe(true);
});

test("JSON carries every digit, and nothing above the largest", () => {
  for (const seed of [0n, 2n ** 53n + 1n, largestSeed]) {
    expect(seedOfText(seedTextSchema.parse(seedToText(seed)))).toBe(seed);
  }
  for (const text of ["18446744073709551616", "-1", "1e3", "", "1.0"]) {
    expect(seedTextSchema.safeParse(text).success).toBe(false);
  }
});

test("the command line's request follows the same rule", () => {
  const seedOf = (seed?: bigint) =>
    generateRequestSchema.safeParse({
      prompt: "a fox",
      ...(seed === undefined ? {} : { seed }),
    }).data?.seed;
  expect([seedOf(), seedOf(0n), seedOf(largestSeed)]).toEqual([42n, 0n, largestSeed]);
  expect(seedOf(-1n)).toBeGreaterThanOrEqual(0n);
  expect([seedOf(-2n), seedOf(largestSeed + 1n)]).toEqual([undefined, undefined]);
});
