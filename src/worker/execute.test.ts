import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { jobOf, prompt, workerIn } from "../../test/worker-jobs.ts";
import type { JobEvent, PictureJob } from "../job/job.ts";
import { JobError } from "../job/job.ts";
import type { WorkerSlot } from "./slot.ts";

const demo = fileURLToPath(new URL("../../demo", import.meta.url));
const zorple = join(demo, "loras", "zorple.safetensors");
const never = new AbortController().signal;
let folder: string;
let worker: WorkerSlot;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-worker-"));
  worker = workerIn(folder);
});
afterAll(async () => {
  await worker.stop();
  rmSync(folder, { recursive: true });
});

test("makes a job's pictures in order, with what made them, events and previews", async () => {
  const events: JobEvent[] = [];
  const job = jobOf(
    [prompt({ steps: 4, width: 95, height: 70 }), prompt({ seed: "18446744073709551615" })],
    { loras: [{ path: "zorple.safetensors", multiplier: 0.5 }], previewEvery: 2 },
  );
  const run = { signal: never, onEvent: (event: JobEvent) => events.push(event) };
  const result = await worker.run(job, [zorple], run);
  expect(result.images.map(({ file }) => file)).toEqual([
    `${job.id}_output_0.jpg`,
    `${job.id}_output_1.jpg`,
  ]);
  expect(result.images[0]).toMatchObject({ width: 64, height: 64, format: "jpeg", seed: "42" });
  expect(result.images[1]?.seed).toBe("18446744073709551615");
  expect(result.images[0]?.effective).toMatchObject({
    num_inference_steps: 4,
    guidance_scale: 1,
    standard_cfg: 2,
    loras: [{ network_multiplier: 0.5 }],
  });
  expect(result.timings.pipeline_details).toMatchObject({ cache_action: "fresh_load" });
  const progress = events.filter((event) => event.type === "progress");
  expect(progress[0]).toMatchObject({ promptIndex: 0, step: 1, total: 3 });
  const previews = events.filter((event) => event.type === "preview");
  expect(previews.map(({ file }) => file)).toEqual(
    [`${job.id}_preview_0_2.jpg`, `${job.id}_preview_1_2.jpg`].slice(0, previews.length),
  );
  expect((await sharp(join(folder, previews[0]!.file)).metadata()).width).toBe(64);
  expect(readdirSync(folder).filter((name) => name.endsWith(".tmp"))).toEqual([]);
});

test("keeps the pipeline and the LoRA, and gives the same picture with or without them in memory", async () => {
  const job = () => jobOf([prompt()], { format: "png" });
  const lora = { path: "zorple.safetensors", multiplier: 1 };
  const run = { signal: never, onEvent: () => {} };
  const bytesOf = async (made: PictureJob, files: string[]) => {
    const { images, timings } = await worker.run(made, files, run);
    const { data } = await sharp(join(folder, images[0]!.file))
      .raw()
      .toBuffer({ resolveWithObject: true });
    return { data, action: timings.pipeline_details };
  };
  const plain = await bytesOf(job(), []);
  const styled = await bytesOf({ ...job(), loras: [lora] }, [zorple]);
  const plainAgain = await bytesOf(job(), []);
  expect(plainAgain.action).toMatchObject({ cache_hit: true, cache_action: "reuse" });
  expect(plainAgain.data.equals(plain.data)).toBe(true);
  expect(styled.data.equals(plain.data)).toBe(false);
});

test("pipelines beyond the memory budget make room for each other", async () => {
  const run = { signal: never, onEvent: () => {} };
  const actionsIn = async (small: WorkerSlot) => {
    const actions: unknown[] = [];
    for (const model of ["zimage", "zimage_turbo", "zimage_turbo", "zimage"]) {
      const { timings } = await small.run(jobOf([prompt()], { model }), [], run);
      actions.push(timings.pipeline_details);
    }
    await small.stop();
    return actions.map((details) => (details as { cache_action: string }).cache_action); // its shape is the reference's
  };
  expect(await actionsIn(workerIn(folder, { memoryBudget: 1 }))).toEqual([
    "fresh_load",
    "reload_model_changed",
    "reuse",
    "reload_model_changed",
  ]);
  expect(await actionsIn(workerIn(folder))).toEqual(["fresh_load", "fresh_load", "reuse", "reuse"]);
});

test("a failed prompt is named, and the pictures before it are kept", async () => {
  const job = jobOf([prompt(), prompt({ width: 100 })], { profile: "diffusers" });
  const failed = await worker.run(job, [], { signal: never, onEvent: () => {} }).catch((e) => e);
  expect(failed).toBeInstanceOf(JobError);
  expect(failed.retryable).toBe(false);
  expect(failed.failure).toMatchObject({ code: "INVALID_INPUT", promptIndex: 1 });
  expect(failed.failure.message).toMatch(/^prompt 2 of 2: width 100: .*multiples of 16/);
  expect(failed.failure.images).toHaveLength(1);
});

test("messages name a LoRA as the client did", async () => {
  const file = join(folder, "secret-place.safetensors");
  writeFileSync(file, "<!doctype html>");
  const job = jobOf([prompt()], { loras: [{ path: "mine.safetensors", multiplier: 1 }] });
  const failed = await worker
    .run(job, [file], { signal: never, onEvent: () => {} })
    .catch((e) => e);
  expect(failed.failure.message).toContain("mine.safetensors");
  expect(failed.failure.message).not.toContain("secret-place");
});

test("a cancel ends the run within a step", async () => {
  const stop = new AbortController();
  const job = jobOf([prompt({ steps: 150, width: 512, height: 512 })]);
  let steps = 0;
  const onEvent = (event: JobEvent) => {
    if (event.type === "progress" && ++steps === 2) stop.abort();
  };
  const failed = await worker.run(job, [], { signal: stop.signal, onEvent }).catch((e) => e);
  expect(failed.failure.code).toBe("CANCELED");
  expect(steps).toBeLessThanOrEqual(4);
});

describe("transformers of the server's own", () => {
  const run = { signal: never, onEvent: () => {} };

  test("rounded to 8 bits: made once, and every result says so", async () => {
    const cacheFolder = join(folder, "rounded");
    const own = workerIn(folder, { storage: "int8", cacheFolder });
    try {
      for (const _ of [1, 2]) {
        const { images } = await own.run(jobOf([prompt()]), [], run);
        expect(images[0]?.effective).toMatchObject({
          transformer: { file: null, quantization: "int8" },
          weights: { transformer: expect.stringMatching(/^sampled:[0-9a-f]{64}\+int8$/) },
        });
      }
      expect(readdirSync(cacheFolder)).toHaveLength(1);
    } finally {
      await own.stop();
    }
  });

  test("as trained: by the version of the LoRA's trainer, beside the model as it is stored", async () => {
    const own = workerIn(folder, { cacheFolder: join(folder, "as-trained") });
    const lora = { path: "zorple.safetensors", multiplier: 1 };
    const pictureOf = async (fields: Partial<PictureJob>, files: string[]) => {
      const { images, timings } = await own.run(jobOf([prompt()], fields), files, run);
      return { effective: images[0]!.effective, details: timings.pipeline_details };
    };
    try {
      const rounded = await pictureOf({ asTrained: true, loras: [lora] }, [zorple]);
      expect(rounded.effective).toMatchObject({
        as_trained: {
          dtype: "bf16",
          transformer: "torchao",
          text_encoder: "quanto",
          embedders: false,
          training_adapter: "zimage_turbo_training_adapter_v2.safetensors",
        },
        weights: {
          transformer: expect.stringMatching(/^sampled:\w+\+torchao bf16\+adapter sampled:\w+$/),
          text_encoder: expect.stringMatching(/^sampled:\w+\+quanto bf16$/),
        },
        loras: [{ network_multiplier: 1 }],
      });
      const plain = await pictureOf({}, []);
      expect(plain.effective).toMatchObject({ as_trained: null });
      const again = await pictureOf({ asTrained: true, loras: [lora] }, [zorple]);
      expect(again.details).toMatchObject({ cache_hit: true });
    } finally {
      await own.stop();
    }
  });

  test("as trained: an unreadable LoRA is the client's; rounded weights are held in 8 bits", async () => {
    const broken = join(folder, "broken.safetensors");
    writeFileSync(broken, "<!doctype html>");
    const own = workerIn(folder, { storage: "int8", cacheFolder: join(folder, "both") });
    const fields = { asTrained: true, loras: [{ path: "mine.safetensors", multiplier: 1 }] };
    const failureOf = async (file: string) =>
      (await own.run(jobOf([prompt()], fields), [file], run).catch((error) => error)).failure;
    try {
      expect(await failureOf(broken)).toMatchObject({
        code: "INVALID_INPUT",
        message: expect.stringContaining("mine.safetensors"),
      });
      const { images } = await own.run(jobOf([prompt()], fields), [zorple], run);
      expect(images[0]!.effective).toMatchObject({
        storage: "int8",
        transformer: { quantization: "int8" },
        as_trained: { transformer: "torchao" },
        weights: { transformer: expect.stringMatching(/\+adapter sampled:\w+\+int8$/) },
      });
    } finally {
      await own.stop();
    }
  });

  test("a file for one model; what is wrong with it is told without its folder", async () => {
    const file = join(folder, "wrong.safetensors");
    writeFileSync(file, readFileSync(zorple));
    const own = workerIn(folder, { transformers: { zimage_turbo: file } });
    try {
      const failed = own.run(jobOf([prompt()]), [], run);
      await expect(failed).rejects.toThrow(/: wrong\.safetensors is not a Z-Image .*--lora/);
      const other = await own.run(jobOf([prompt()], { model: "zimage" }), [], run);
      expect(other.images).toHaveLength(1);
    } finally {
      await own.stop();
    }
  });
});
