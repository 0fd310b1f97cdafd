import { afterAll, beforeAll, expect, test } from "vitest";
import { randn } from "../sampler/noise.ts";
import { philoxRandn } from "../sampler/philox.ts";
import { roundToDtype } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { StepProgress } from "./generate.ts";
import type { Meaning } from "./meaning.ts";
import type { OpenPipeline } from "./open.ts";
import { openPipeline } from "./open.ts";

let pipeline: OpenPipeline;
beforeAll(async () => {
  pipeline = await openPipeline({ model: "zimage_deturbo", weights: "demo" });
});
afterAll(() => pipeline[Symbol.asyncDispose]());

const request = { prompt: "a red circle", width: 64, height: 64, steps: 3, seed: 5n };

async function draw(meaning: Meaning, guidanceScale: number) {
  return await pipeline.generate({ ...request, guidanceScale, profile: "diffusers" }, { meaning });
}

/** The latents that the first step starts from: what is left when its update is taken back. */
async function startOf(meaning: Meaning): Promise<Tensor> {
  const steps: StepProgress[] = [];
  const { schedule } = await pipeline.generate(
    { ...request, guidanceScale: 0, profile: "diffusers" },
    { meaning, onStep: (step) => void steps.push(step) },
  );
  const { latents, noisePred } = steps[0]!;
  const update = schedule.sigmas[1]! - schedule.sigmas[0]!;
  const data = latents.data.map((value, i) => value - update * noisePred.data[i]!);
  return { data, shape: latents.shape };
}

function near(a: Tensor, b: Tensor): void {
  const farthest = Math.max(...a.data.map((value, i) => Math.abs(value - b.data[i]!)));
  expect(farthest).toBeLessThan(1e-5);
}

test("noise levels and a guidance weight that a profile has give the profile's picture", async () => {
  const plain = await draw({}, 3);
  const said = await draw({ sigmas: [...plain.schedule.sigmas], guidanceWeight: 3 }, 0);
  expect(said.image).toEqual(plain.image);
  expect(said.schedule).toEqual(plain.schedule);
});

test("a guidance weight of 0 makes one pass", async () => {
  expect((await draw({ guidanceWeight: 0 }, 3)).image).toEqual((await draw({}, 0)).image);
});

test("zeros are another negative prompt than an empty one, with guidance only", async () => {
  expect((await draw({ negative: "zeros" }, 3)).image).not.toEqual((await draw({}, 3)).image);
  expect((await draw({ negative: "zeros" }, 0)).image).toEqual((await draw({}, 0)).image);
});

test("the noise is the generator's that is named", async () => {
  const shape = [1, 16, 8, 8];
  near(await startOf({}), randn(5n, shape));
  near(await startOf({ noise: { generator: "philox" } }), philoxRandn(5n, shape));
  const threads = 100;
  near(await startOf({ noise: { generator: "philox", threads } }), philoxRandn(5n, shape, threads));
  const rounded = randn(5n, shape);
  roundToDtype(rounded.data, "BF16");
  near(await startOf({ noise: { generator: "cpu", bf16: true } }), rounded);
});

test("a schedule that starts below 1 starts from weaker noise", async () => {
  const { data, shape } = randn(5n, [1, 16, 8, 8]);
  const start = await startOf({ sigmas: [0.75, 0.25, 0] });
  near(start, { data: data.map((value) => 0.75 * value), shape });
});
