import { expect, test } from "vitest";
import { profiles } from "../models/profiles.ts";
import { modelById } from "../models/registry.ts";
import { cpuTarget } from "../onnx/target.ts";
import { openComponents } from "./components.ts";
import { estimateSeconds } from "./estimate.ts";

const picture = {
  profile: profiles.diffusers,
  width: 512,
  height: 512,
  guidanceScale: 3,
  seed: 1n,
};
const parts = await openComponents("demo", modelById("zimage_turbo"));

test("nothing is timed for a short run", async () => {
  const short = { ...picture, steps: 1, guidanceWeight: 0 };
  expect(await estimateSeconds(parts, short, cpuTarget)).toBeNull();
});

test("a thousand times as many steps take longer", async () => {
  const many = { ...picture, steps: 10_000, guidanceWeight: 3 };
  const some = await estimateSeconds(parts, many, cpuTarget);
  const more = await estimateSeconds(parts, { ...many, steps: 10_000_000 }, cpuTarget);
  expect(some).toBeGreaterThan(0);
  expect(more! / some!).toBeGreaterThan(10);
});
