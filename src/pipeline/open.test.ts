import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { goldenFolder } from "../../test/golden.ts";
import { ageFile, overwriteUnseen } from "../../test/overwrite.ts";
import { CanceledError } from "../errors.ts";
import { openPipeline } from "./open.ts";

const weights = join(goldenFolder, "tiny", "store");
const model = "zimage_turbo";
const lora = join(goldenFolder, "tiny", "lora-mixed-ranks.safetensors");
const small = { prompt: "a red fox", width: 64, height: 64, steps: 2 };

test("draws, says what it loaded, and draws the same again", async () => {
  await using pipeline = await openPipeline({ model, weights });
  const request = { ...small, loras: [{ path: lora, multiplier: 1 }] };
  const first = await pipeline.generate(request);
  const second = await pipeline.generate(request);
  expect(first.image.shape).toEqual([3, 64, 64]);
  expect(second.image.data).toEqual(first.image.data);
  expect([first.loaded.cached, second.loaded.cached]).toEqual([false, true]);
  expect(first.parameters).toMatchObject({ model, width: 64, height: 64, num_inference_steps: 2 });
});

test("a LoRA is read once for requests in a row, networks kept open or not", async () => {
  await using pipeline = await openPipeline({ model, weights, keepOpen: false });
  const folder = mkdtempSync(join(tmpdir(), "retake-open-"));
  const own = join(folder, "own.safetensors");
  copyFileSync(lora, own);
  ageFile(own);
  const request = { ...small, loras: [{ path: own, multiplier: 1 }] };
  const first = await pipeline.generate(request);
  overwriteUnseen(own);
  const second = await pipeline.generate(request);
  expect(second.loaded.cached).toBe(true);
  expect(second.image.data).toEqual(first.image.data);
  // Without it between them it goes, and is read again.
  await pipeline.generate(small);
  await expect(pipeline.generate(request)).rejects.toThrow(/own\.safetensors/);
  rmSync(folder, { recursive: true });
});

test("requests made at once wait for each other, and one that fails holds nobody up", async () => {
  await using pipeline = await openPipeline({ model, weights });
  const controller = new AbortController();
  const stepsOf: string[] = [];
  const onStep = (name: string) => () => void stepsOf.push(name);
  const canceled = pipeline.generate(small, {
    signal: controller.signal,
    onStep: () => controller.abort(),
  });
  const others = ["b", "c"].map((name) => pipeline.generate(small, { onStep: onStep(name) }));
  await expect(canceled).rejects.toThrow(CanceledError);
  const [b, c] = await Promise.all(others);
  expect(c!.image.data).toEqual(b!.image.data);
  expect(stepsOf.toSorted()).toEqual(stepsOf);
});

test("what is disposed of finishes its picture and draws no other", async () => {
  const pipeline = await openPipeline({ model, weights });
  let disposing: Promise<void> | undefined;
  const drawn = pipeline.generate(small, {
    onStep: () => {
      disposing ??= Promise.resolve(pipeline[Symbol.asyncDispose]());
    },
  });
  expect((await drawn).image.shape).toEqual([3, 64, 64]);
  await disposing;
  await expect(pipeline.generate(small)).rejects.toThrow(/was disposed of: open another/);
});

test.each([
  [{ model: "zimage_tubro" }, "zimage_tubro"],
  [{ model, device: "gpu" }, "device: "],
  [{ model, quantize: "int4" }, "quantize: "],
  [{ model, storage: "int4" }, "storage: "],
  [{ model, storage: "f16", quantize: "int8" }, "storage is f16, and its older name quantize"],
  [{ model, weight: "demo" }, "weight"],
  [{ model, weights: "/none" }, "/none"],
])("%j can't be opened", async (options, named) => {
  // What a program in plain JavaScript may give.
  const opening = openPipeline(options as Parameters<typeof openPipeline>[0]);
  await expect(opening).rejects.toMatchObject({
    name: "InputError",
    message: expect.stringContaining(named),
  });
});

test.each([
  [{ ...small, width: 63 }, "width: "],
  [{ ...small, loras: [{ path: lora, multiplier: Number.NaN }] }, "loras.0.multiplier: "],
  [{ ...small, guidanceScale: Number.POSITIVE_INFINITY }, "guidanceScale: "],
  [{ ...small, size: 64 }, "size"],
  [{ ...small, loras: [{ path: "/none.safetensors", multiplier: 1 }] }, "/none.safetensors"],
])("%j can't be drawn", async (request, named) => {
  await using pipeline = await openPipeline({ model, weights });
  await expect(pipeline.generate(request)).rejects.toMatchObject({
    name: "InputError",
    message: expect.stringContaining(named),
  });
});

test("a program that says where files go needs no settings", async () => {
  process.env.RETAKE_NO_SETTING = "1";
  onTestFinished(() => void delete process.env.RETAKE_NO_SETTING);
  await using pipeline = await openPipeline({ model, weights, cacheFolder: "/nowhere" });
  expect(pipeline.weightBytes).toBeGreaterThan(0);
});
