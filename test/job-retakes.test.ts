import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { demoWeights } from "../src/paths.ts";
import { readJobFolder } from "../src/preview/job-folder.ts";
import type { PlannedSample } from "../src/preview/plan.ts";
import { planRetakes } from "../src/preview/plan.ts";
import { openRenderer } from "../src/preview/renderer.ts";
import { fromTruth, jobFolders } from "./truth-picture.ts";

const renderer = openRenderer({
  weights: demoWeights,
  storage: "auto",
  cacheFolder: mkdtempSync(join(tmpdir(), "retakes-")),
  device: "cpu",
  transformers: {},
});
afterAll(() => renderer[Symbol.asyncDispose]());

async function planned(job: string): Promise<readonly PlannedSample[]> {
  return planRetakes(await readJobFolder(join(jobFolders, job))).samples;
}

/** What is allowed of 255: measured where a float32 job's LoRA was rounded to 16 bits. */
const allowed = { exact: 1, "rounded-lora": 4 } as const;

// n-q8-f32 quantised in float32: its rounded weights are all that its pictures differ by.
test.each(["mix", "e2-first", "e5b-odd", "n-q8-f32"])(
  "%s: every retake is the trainer's picture",
  async (job) => {
    for (const { preview, model, rounding, request, expected, step, index } of await planned(job)) {
      if (request === null) continue;
      const { image } = await renderer.render(model, rounding, request);
      const { max } = await fromTruth(job, preview!.file, image);
      expect(max, `step ${step}, sample ${index}`).toBeLessThanOrEqual(
        allowed[expected as keyof typeof allowed],
      );
    }
  },
);

test.each([
  ["e2-q8ad", 35],
  // A LoKr on Turbo, whose training adapter stayed under it: 17 to 30 dB where it is taken off.
  ["r-turbo-lokr", 41],
])(
  "%s: the retakes of a quantised job are near its pictures, and nearer than without rounding",
  async (job, least) => {
    for (const { preview, model, rounding, request } of await planned(job)) {
      const near = async (how: typeof rounding) => {
        const { image } = await renderer.render(model, how, request!);
        return (await fromTruth(job, preview!.file, image)).psnr;
      };
      const rounded = await near(rounding);
      expect(rounded).toBeGreaterThan(least);
      expect(rounded).toBeGreaterThan(await near(null));
    }
  },
);

test("n-q8-f32: without its rounding the pictures are others", async () => {
  for (const { preview, model, request } of await planned("n-q8-f32")) {
    const { image } = await renderer.render(model, null, request!);
    expect((await fromTruth("n-q8-f32", preview!.file, image)).max).toBeGreaterThan(30);
  }
});
