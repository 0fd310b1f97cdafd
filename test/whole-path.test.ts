import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { modelById } from "../src/models/registry.ts";
import { generate } from "../src/pipeline/generate.ts";
import { Pipeline } from "../src/pipeline/pipeline.ts";
import { Trace } from "../src/pipeline/trace.ts";
import { readF32, readSafetensors } from "../src/weights/safetensors.ts";
import { few, goldensFor, testRuns } from "./devices.ts";
import type { GoldenRequest } from "./golden.ts";
import { goldenFolder, readGolden, requestFor, toleranceOf } from "./golden.ts";
import type { TestRun } from "./held.ts";
import { openHeld, targetsFor } from "./held.ts";

interface Request extends GoldenRequest {
  lora: [string, number][];
}

const tiny = join(goldenFolder, "tiny");
const requests = readGolden<Record<string, Request>>("tiny/traces/requests.json");
const tracesOf = (goldens: string) =>
  readdirSync(join(goldenFolder, goldens, "traces")).filter((name) =>
    name.endsWith(".safetensors"),
  );
const profileOf = { pin: "reference", head: "diffusers" } as const;

// One pipeline for all of them: what a request leaves behind would show in the next one's numbers.
const openPipeline = async (run: TestRun) => {
  const components = await openHeld(
    join(goldenFolder, goldensFor(run.storage), "store"),
    modelById("zimage_turbo"),
    run,
  );
  const targets = await targetsFor(run.device, components);
  return new Pipeline(components, { ...targets, keepOpen: true });
};

const title = "each stage of a whole run equals the reference's on $device, $storage weights";
describe.each(testRuns)(title, (run) => {
  const goldens = goldensFor(run.storage);
  let pipeline: Pipeline;
  beforeAll(async () => {
    pipeline = await openPipeline(run);
  });
  afterAll(() => pipeline.release());

  const traces = few(tracesOf(goldens), (name) => name === "head-lora-g3.safetensors");
  test.each(traces)("%s", async (file) => {
    const [generation, ...rest] = file.replace(".safetensors", "").split("-");
    const request = requests[rest.join("-")]!;
    const trace = new Trace();
    const loras = request.lora.map(([file, multiplier]) => ({
      path: join(tiny, file),
      multiplier,
    }));
    await generate(
      pipeline,
      requestFor(request, { profile: profileOf[generation as "pin" | "head"], loras }),
      { trace },
    );

    const scratch = mkdtempSync(join(tmpdir(), "retake-trace-"));
    try {
      const path = join(scratch, "trace.safetensors");
      await trace.write(path, {});
      const ours = (await readSafetensors(path)).tensors;
      const reference = (await readSafetensors(join(goldenFolder, goldens, "traces", file)))
        .tensors;
      expect([...ours.keys()].toSorted()).toEqual([...reference.keys()].toSorted());
      for (const [name, span] of reference) {
        const mine = ours.get(name)!;
        if (span.dtype === "I64") {
          const bytes = ({ file, offset, byteLength }: typeof span) =>
            readFileSync(file).subarray(offset, offset + byteLength);
          expect(bytes(mine).equals(bytes(span)), name).toBe(true);
        } else {
          expect(await readF32(mine), name).toBeAllclose(
            await readF32(span),
            toleranceOf(`${goldens}/traces/${file}`, name),
          );
        }
      }
    } finally {
      rmSync(scratch, { recursive: true });
    }
  });
});
