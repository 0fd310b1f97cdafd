import { expect, test } from "vitest";
import { readGolden, toleranceOf } from "../../test/golden.ts";
import { philoxRandn } from "./philox.ts";

interface Golden {
  noise: { seed: string; numel: number; threads: number | null; values: [number, number][] }[];
}

/** Forge's copy of a card's generator, and a card's layout, written by reference/goldens.py. */
const { noise } = readGolden<Golden>("tools.json");
const { atol } = toleranceOf("tools.json", "noise");

test.each(noise)("seed $seed, $numel values, $threads threads", ({ threads, ...golden }) => {
  const { data } = philoxRandn(BigInt(golden.seed), [golden.numel], threads ?? undefined);
  for (const [i, value] of golden.values)
    expect(Math.abs(data[i]! - value), `value ${i}`).toBeLessThanOrEqual(atol);
});
