import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ProfileName } from "../src/job/request.ts";
import type { OpenPipeline } from "../src/pipeline/open.ts";
import { openPipeline } from "../src/pipeline/open.ts";
import { usefulSteps } from "../src/sampler/schedule.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { unroundedRuns } from "./devices.ts";
import { goldenFolder, readGolden, toleranceOf } from "./golden.ts";
import type { TrainerCase } from "./trainer-picture.ts";
import { asked, farthest } from "./trainer-picture.ts";

const folder = join(goldenFolder, "eras");
const eras = Object.entries(readGolden<Record<string, TrainerCase[]>>("eras/cases.json"));
/** Beginning with the oldest; each has another row of the table than the one before. */
const names = eras.map(([name]) => name as ProfileName);

function draw(
  pipeline: OpenPipeline,
  era: string,
  wanted: TrainerCase,
  profile: "preview" | ProfileName,
) {
  const request = asked(wanted, join(folder, `${era}.safetensors`));
  return pipeline.generate({ ...request, profile });
}

const far = (image: Tensor, { picture }: TrainerCase) => farthest(image, join(folder, picture));

test.skipIf(unroundedRuns.length > 0)(
  "8 bits round more than a trainer's picture can tell",
  () => {},
);

describe.each(unroundedRuns)(
  "previews that the trainer drew, on $device, $storage weights",
  (kind) => {
    let pipeline: OpenPipeline;
    beforeAll(async () => {
      pipeline = await openPipeline({ model: "zimage", weights: "demo", ...kind });
    });
    afterAll(() => pipeline[Symbol.asyncDispose]());

    describe.each(eras)("%s", (era, cases) => {
      test.each(cases)("$picture", async (wanted) => {
        const { image, effective, schedule, parameters, warnings } = await draw(
          pipeline,
          era,
          wanted,
          "preview",
        );
        expect(parameters.profile).toBe(era);
        expect([effective.width, effective.height]).toEqual(wanted.drawn);
        expect(Array.from(schedule.sigmas)).toHaveLength(wanted.sigmas.length);
        for (const [i, sigma] of wanted.sigmas.entries())
          expect(schedule.sigmas[i]).toBeCloseTo(sigma, 5);
        expect(usefulSteps(schedule)).toHaveLength(wanted.updates);
        const isGuided = wanted.handed > (era === "preview-0.7.6" ? 1 : 0);
        expect(effective.guidanceWeight).toBe(isGuided ? wanted.handed : 0);
        expect(await far(image, wanted)).toBeLessThanOrEqual(
          toleranceOf(`eras/${wanted.picture}`, "").atol,
        );
        expect(warnings.filter((warning) => !warning.includes("may have shown"))).toEqual([]);
      });

      test("the row of the era before or after draws another picture", async () => {
        const at = names.indexOf(era as ProfileName);
        for (const other of [names[at - 1], names[at + 1]]) {
          if (other === undefined) continue;
          const differences: number[] = [];
          for (const wanted of cases) {
            const { image } = await draw(pipeline, era, wanted, other);
            differences.push(await far(image, wanted));
          }
          expect(Math.max(...differences), other).toBeGreaterThan(20);
        }
      });
    });
  },
);
