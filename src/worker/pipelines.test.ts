import { cpSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { goldenFolder } from "../../test/golden.ts";
import { ageFile, overwriteUnseen } from "../../test/overwrite.ts";
import { Pipelines } from "./pipelines.ts";

const model = "zimage_turbo";
let folder: string;
let repository: string;
let pipelines: Pipelines;
let lines: object[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-pipelines-"));
  cpSync(join(goldenFolder, "tiny/store"), folder, { recursive: true, dereference: true });
  repository = join(folder, "Tongyi-MAI/Z-Image-Turbo");
  for (const file of filesIn(repository)) ageFile(file);
  lines = [];
  pipelines = new Pipelines({
    weights: folder,
    transformers: {},
    storage: "auto",
    cacheFolder: "/nowhere",
    device: "cpu",
    deviceReason: null,
    keepOpen: true,
    memoryBudget: 2 ** 30,
    log: (fields, message) => void lines.push({ ...fields, message }),
  });
});
afterEach(() => rmSync(folder, { recursive: true }));

function filesIn(place: string): string[] {
  return readdirSync(place, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

test("the next job reads no file of a model that has not changed", async () => {
  const { fresh, pipeline } = await pipelines.get(model, null);
  expect(fresh).toBe(true);
  // Whoever read one of them now would fail.
  for (const file of filesIn(repository)) overwriteUnseen(file);
  const again = await pipelines.get(model, null);
  expect(again.fresh).toBe(false);
  expect(again.pipeline).toBe(pipeline);
  expect(lines).toEqual([
    {
      model,
      storage: "original",
      reason: "the CPU takes weights as stored",
      needs_bytes: expect.any(Number),
      message: "a model's weights are opened",
    },
  ]);
});

test("8 bits that the operator wants are not for what must be unrounded", async () => {
  const own = new Pipelines({
    weights: folder,
    transformers: {},
    storage: "int8",
    cacheFolder: join(folder, "cache"),
    device: "cpu",
    deviceReason: null,
    keepOpen: true,
    memoryBudget: 2 ** 30,
    log: (fields) => void lines.push(fields),
  });
  const rounded = await own.get(model, null);
  const { fingerprint } = await own.get(model, null, undefined, { unrounded: true });
  expect(rounded.fingerprint.transformer).toBe(`${fingerprint.transformer}+int8`);
  expect(lines).toMatchObject([
    { storage: "int8" },
    { bytes: expect.any(Number) },
    { storage: "original" },
  ]);
});

test.each([
  "tokenizer/tokenizer.json",
  "text_encoder/config.json",
  "transformer/diffusion_pytorch_model.safetensors",
  "scheduler/scheduler_config.json",
])("what becomes of %s is seen", async (name) => {
  const { pipeline } = await pipelines.get(model, null);
  const file = join(repository, name);
  const kept = join(folder, "kept");
  cpSync(file, kept);
  rmSync(file);
  await expect(pipelines.get(model, null)).rejects.toThrow(repository);
  cpSync(kept, file);
  const again = await pipelines.get(model, null);
  expect(again.fresh).toBe(true);
  expect(again.pipeline).not.toBe(pipeline);
});
