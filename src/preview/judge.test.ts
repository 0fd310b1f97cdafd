import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, expect, test } from "vitest";
import { encodeAsTrainer, toPixels } from "../image/encode-image.ts";
import type { GenerateInput } from "../job/request.ts";
import { demoLoras } from "../paths.ts";
import type { OpenPipeline } from "../pipeline/open.ts";
import { openPipeline } from "../pipeline/open.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { judge } from "./judge.ts";

const demoLora = join(demoLoras, "zorple.safetensors");
const request = {
  prompt: "zorple a red circle on blue",
  loras: [{ path: demoLora, multiplier: 1 }],
  ...{ width: 160, height: 128, steps: 5, guidanceScale: 3, seed: 42n },
} satisfies GenerateInput;

let pipeline: OpenPipeline;
let exact: Tensor;
const draw = async (change: Partial<GenerateInput>) =>
  (await pipeline.generate({ ...request, ...change })).image;
beforeAll(async () => {
  pipeline = await openPipeline({ model: "zimage_deturbo" });
  exact = await draw({});
});
afterAll(() => pipeline[Symbol.asyncDispose]());

const preview = async (image: Tensor, format: "jpeg" | "png" | "webp") => ({
  file: `samples/1795598296045__000000000_0.${format}`,
  bytes: await encodeAsTrainer(toPixels(image), format),
});

/** The picture with noise of a deviation of `steps` of 255, the same each time. */
function noisy({ data, shape }: Tensor, steps: number): Tensor {
  let state = 1;
  const drawn = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const normal = () => Math.sqrt(-2 * Math.log(1 - drawn())) * Math.cos(2 * Math.PI * drawn());
  const moved = data.map((value) => Math.min(1, Math.max(0, value + (steps / 255) * normal())));
  return { data: moved, shape };
}

const formats = ["jpeg", "png", "webp"] as const;

test.each(formats)("the same picture is equal to its %s", async (format) => {
  const judgement = await judge(await preview(exact, format), exact, "exact");
  expect(judgement).toEqual({
    ...{ verdict: "equal", psnr: 100, ssim: 1, maxDifference: 0, reason: null },
  });
});

test.each(formats)("what a LoRA in 16 bits changes is equal as a %s", async (format) => {
  // Rounded to bytes, a deviation of 0.016 of 255 is 67 dB, the most that pairs of matrices showed in
  // the trainer's jobs, and one of 0.25 is 60 dB, as changes of norms did.
  for (const deviation of [0.016, 0.25]) {
    const theirs = await preview(noisy(exact, deviation), format);
    const { verdict } = await judge(theirs, exact, "rounded-lora");
    expect(verdict, `${deviation}`).toBe("equal");
  }
});

const wrong: [string, Partial<GenerateInput>][] = [
  ["a guidance of 3.2", { guidanceScale: 3.2 }],
  ["a step more", { steps: 6 }],
  ["another schedule", { profile: "diffusers" }],
  ["a multiplier of 0.95", { loras: [{ path: demoLora, multiplier: 0.95 }] }],
  ["no LoRA", { loras: [] }],
  ["another seed", { seed: 43n }],
  ["no trigger", { prompt: "[trigger] a red circle on blue" }],
];
test.each(wrong)("%s is different in each format", async (_, change) => {
  const retake = await draw(change);
  for (const format of formats) {
    const { verdict } = await judge(await preview(exact, format), retake, "exact");
    expect(verdict, format).toBe("different");
  }
});

test("what bf16 explains is close for a job that ran in bf16, and different for others", async () => {
  // 45 dB: in the middle of what the trainer's bf16 jobs showed.
  const theirs = await preview(noisy(exact, 1.4), "jpeg");
  for (const expected of ["bf16", "quantised"] as const) {
    expect(await judge(theirs, exact, expected)).toMatchObject({
      verdict: "close",
      reason: expect.stringMatching(/explains what is left/),
    });
  }
  for (const expected of ["exact", "rounded-lora"] as const) {
    expect(await judge(theirs, exact, expected)).toMatchObject({ verdict: "different" });
  }
  const retake = await draw({ steps: 4 });
  expect(await judge(theirs, retake, "bf16")).toMatchObject({ verdict: "different" });
});

test("pictures of two sizes are different, and both sizes are said", async () => {
  const theirs = await preview(await draw({ width: 128 }), "jpeg");
  expect(await judge(theirs, exact, "bf16")).toEqual({
    ...{ verdict: "different", psnr: null, ssim: null, maxDifference: null },
    reason: "The preview has 128 x 128 pixels, the retake 160 x 128.",
  });
});

test("a JPEG that another program saved again is said to be one", async () => {
  const { data, width, height } = toPixels(exact);
  const raw = sharp(data, { raw: { width, height, channels: 3 } });
  const resaved = (quality: number) =>
    raw.clone().jpeg({ quality, chromaSubsampling: "4:2:0", optimiseCoding: false }).toBuffer();
  const judged = async (bytes: Uint8Array) => judge({ file: "a.jpg", bytes }, exact, "bf16");
  expect(await judged(await resaved(30))).toMatchObject({
    verdict: "different",
    reason: expect.stringMatching(/saved again by another program/),
  });
  expect(await judged(await resaved(75))).toMatchObject({ verdict: "equal", reason: null });
});

test("a preview that was cut off is refused by name", async () => {
  const { file, bytes } = await preview(exact, "jpeg");
  const cut = { file, bytes: bytes.subarray(0, bytes.length / 2) };
  await expect(judge(cut, exact, "exact")).rejects.toThrow(`${file} can't be decoded: it is cut`);
});
