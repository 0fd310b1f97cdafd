import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { OpenPipeline } from "../src/pipeline/open.ts";
import { openPipeline } from "../src/pipeline/open.ts";
import { testDevices } from "./devices.ts";
import { goldenFolder, readGolden, toleranceOf } from "./golden.ts";
import type { TrainerCase } from "./trainer-picture.ts";
import { asked, farthest } from "./trainer-picture.ts";

// What ai-toolkit drew in training with each kind of network, and the file that it saved: reference/golden_networks.py.
const folder = join(goldenFolder, "networks");
const networks = Object.entries(readGolden<Record<string, TrainerCase[]>>("networks/cases.json"));

describe.each(testDevices)("networks that the trainer trained, on %s", (device) => {
  let pipeline: OpenPipeline;
  beforeAll(async () => {
    pipeline = await openPipeline({ model: "zimage", weights: "demo", device });
  });
  afterAll(() => pipeline[Symbol.asyncDispose]());

  describe.each(networks)("%s", (network, cases) => {
    test.each(cases)("at $multiplier", async (wanted) => {
      const request = asked(wanted, join(folder, `${network}.safetensors`));
      const picture = join(folder, wanted.picture);
      const { image } = await pipeline.generate({ ...request, profile: "preview" });
      const { atol } = toleranceOf(`networks/${wanted.picture}`, "");
      expect(await farthest(image, picture)).toBeLessThanOrEqual(atol);
      const without = { ...request, loras: [], profile: "preview-0.10.25" as const };
      const { image: plain } = await pipeline.generate(without);
      expect(await farthest(plain, picture)).toBeGreaterThan(3 * atol);
    });
  });
});
