import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { OpenPipeline } from "../src/pipeline/open.ts";
import { openPipeline } from "../src/pipeline/open.ts";
import { unroundedRuns } from "./devices.ts";
import { goldenFolder, readGolden, toleranceOf } from "./golden.ts";
import type { TrainerCase } from "./trainer-picture.ts";
import { asked, farthest } from "./trainer-picture.ts";

// What ai-toolkit drew in training with each kind of network, and the file that it saved: reference/golden_networks.py.
const folder = join(goldenFolder, "networks");
const { "dora-beside-adapter": besideAdapter, ...plain } =
  readGolden<Record<string, TrainerCase[]>>("networks/cases.json");

const requestFor = (network: string, wanted: TrainerCase) =>
  asked(wanted, join(folder, `${network}.safetensors`));
const far = async (
  pipeline: OpenPipeline,
  request: ReturnType<typeof asked>,
  { picture }: TrainerCase,
) => {
  const { image } = await pipeline.generate({ ...request, profile: "preview-0.10.25" });
  return farthest(image, join(folder, picture));
};
const atolOf = ({ picture }: TrainerCase) => toleranceOf(`networks/${picture}`, "").atol;

test.skipIf(unroundedRuns.length > 0)(
  "8 bits round more than a trainer's picture can tell",
  () => {},
);

describe.each(unroundedRuns)(
  "networks that the trainer trained, on $device, $storage weights",
  (kind) => {
    let pipeline: OpenPipeline;
    beforeAll(async () => {
      pipeline = await openPipeline({ model: "zimage", weights: "demo", ...kind });
    });
    afterAll(() => pipeline[Symbol.asyncDispose]());

    describe.each(Object.entries(plain))("%s", (network, cases) => {
      test.each(cases)("at $multiplier", async (wanted) => {
        const request = requestFor(network, wanted);
        const atol = atolOf(wanted);
        expect(await far(pipeline, request, wanted)).toBeLessThanOrEqual(atol);
        expect(await far(pipeline, { ...request, loras: [] }, wanted)).toBeGreaterThan(3 * atol);
      });
    });
  },
);

describe.each(unroundedRuns)(
  "a DoRA beside the training adapter, on $device, $storage weights",
  (kind) => {
    let pipeline: OpenPipeline;
    beforeAll(async () => {
      pipeline = await openPipeline({ model: "zimage_turbo", weights: "demo", ...kind });
    });
    afterAll(() => pipeline[Symbol.asyncDispose]());

    // The trainer merges the adapter, measures the DoRA's rows with it and takes it off as it draws.
    test.each(besideAdapter!)("at $multiplier", async (wanted) => {
      const own = requestFor("dora-beside-adapter", wanted);
      const adapter = (multiplier: number) => ({
        path: join(folder, "training-adapter.safetensors"),
        multiplier,
      });
      const request = { ...own, loras: [adapter(1), ...own.loras!, adapter(-1)] };
      const atol = atolOf(wanted);
      expect(await far(pipeline, request, wanted)).toBeLessThanOrEqual(atol);
      expect(await far(pipeline, own, wanted)).toBeGreaterThan(3 * atol);
    });
  },
);
