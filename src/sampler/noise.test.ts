import { expect, test } from "vitest";
import { readGolden, toleranceOf } from "../../test/golden.ts";
import { randn } from "./noise.ts";

interface NoiseGolden {
  cases: {
    seed: string;
    numel: number;
    values?: number[];
    first?: number[];
    last?: number[];
    mean?: number;
    std?: number;
    /** The values farthest from 0, with their places: where rounding shows most. */
    extremes?: [number, number][];
  }[];
}

/** Values of torch.randn, written by reference/goldens.py. */
const { cases } = readGolden<NoiseGolden>("noise.json");
const { atol } = toleranceOf("noise.json", "");

test.each(cases)("seed $seed, $numel values equal torch.randn within the tolerance", (golden) => {
  const { data } = randn(BigInt(golden.seed), [golden.numel]);
  const near = (actual: Float32Array, values: number[] | undefined) => {
    if (values === undefined) return;
    expect(actual.length).toBe(values.length);
    for (const [i, value] of values.entries()) {
      expect(Math.abs(actual[i]! - value)).toBeLessThanOrEqual(atol);
    }
  };
  near(data, golden.values);
  near(data.subarray(0, golden.first?.length), golden.first);
  near(data.subarray(data.length - (golden.last?.length ?? 0)), golden.last);
  for (const [i, value] of golden.extremes ?? []) {
    expect(Math.abs(data[i]! - value)).toBeLessThanOrEqual(atol);
  }
  if (golden.mean !== undefined) {
    expect(data.reduce((sum, value) => sum + value, 0) / data.length).toBeCloseTo(golden.mean, 5);
  }
});

test("seeds that are equal modulo 2^32 give equal noise", () => {
  expect(randn(7n, [33])).toEqual(randn(2n ** 32n + 7n, [33]));
});
