import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { toPixels } from "../src/image/encode-image.ts";
import type { ProfileName } from "../src/job/request.ts";
import type { OpenPipeline } from "../src/pipeline/open.ts";
import { openPipeline } from "../src/pipeline/open.ts";
import { usefulSteps } from "../src/sampler/schedule.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { testDevices } from "./devices.ts";
import { goldenFolder, readGolden, toleranceOf } from "./golden.ts";

/** A preview as its configuration asks for it, and what the trainer's pipeline made of that. */
interface Case {
  readonly picture: string;
  readonly prompt: string;
  readonly negative: string;
  readonly width: number;
  readonly height: number;
  readonly steps: number;
  readonly guidance: number;
  readonly multiplier: number;
  readonly seed: number;
  readonly drawn: readonly [width: number, height: number];
  readonly sigmas: readonly number[];
  readonly updates: number;
  /** The guidance scale that diffusers' pipeline was handed. */
  readonly handed: number;
}

const folder = join(goldenFolder, "eras");
const eras = Object.entries(readGolden<Record<string, Case[]>>("eras/cases.json"));
/** Beginning with the oldest; each has another row of the table than the one before. */
const names = eras.map(([name]) => name as ProfileName);

function draw(pipeline: OpenPipeline, era: string, asked: Case, profile: "preview" | ProfileName) {
  return pipeline.generate({
    prompt: asked.prompt,
    negativePrompt: asked.negative,
    loras: [{ path: join(folder, `${era}.safetensors`), multiplier: asked.multiplier }],
    width: asked.width,
    height: asked.height,
    steps: asked.steps,
    guidanceScale: asked.guidance,
    seed: BigInt(asked.seed),
    profile,
  });
}

/** Largest difference from the trainer's own picture, in 8-bit steps; 255 if the size is another. */
async function farthest(image: Tensor, { picture }: Case): Promise<number> {
  const ours = toPixels(image);
  const { data, info } = await sharp(join(folder, picture))
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  if (info.width !== ours.width || info.height !== ours.height) return 255;
  return data.reduce((most, value, i) => Math.max(most, Math.abs(value - ours.data[i]!)), 0);
}

describe.each(testDevices)("previews that the trainer drew, on %s", (device) => {
  let pipeline: OpenPipeline;
  beforeAll(async () => {
    pipeline = await openPipeline({ model: "zimage", weights: "demo", device });
  });
  afterAll(() => pipeline[Symbol.asyncDispose]());

  describe.each(eras)("%s", (era, cases) => {
    test.each(cases)("$picture", async (asked) => {
      const { image, effective, schedule, parameters, warnings } = await draw(
        pipeline,
        era,
        asked,
        "preview",
      );
      expect(parameters.profile).toBe(era);
      expect([effective.width, effective.height]).toEqual(asked.drawn);
      expect(Array.from(schedule.sigmas)).toHaveLength(asked.sigmas.length);
      for (const [i, sigma] of asked.sigmas.entries())
        expect(schedule.sigmas[i]).toBeCloseTo(sigma, 5);
      expect(usefulSteps(schedule)).toHaveLength(asked.updates);
      const isGuided = asked.handed > (era === "preview-0.7.6" ? 1 : 0);
      expect(effective.guidanceWeight).toBe(isGuided ? asked.handed : 0);
      expect(await farthest(image, asked)).toBeLessThanOrEqual(
        toleranceOf(`eras/${asked.picture}`, "").atol,
      );
      expect(warnings.filter((warning) => !warning.includes("may have shown"))).toEqual([]);
    });

    test("the row of the era before or after draws another picture", async () => {
      const at = names.indexOf(era as ProfileName);
      for (const other of [names[at - 1], names[at + 1]]) {
        if (other === undefined) continue;
        const far: number[] = [];
        for (const asked of cases) {
          far.push(await farthest((await draw(pipeline, era, asked, other)).image, asked));
        }
        expect(Math.max(...far), other).toBeGreaterThan(20);
      }
    });
  });
});
