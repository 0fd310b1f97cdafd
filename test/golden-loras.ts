import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { modelById } from "../src/models/registry.ts";
import type { StepProgress } from "../src/pipeline/generate.ts";
import { generate } from "../src/pipeline/generate.ts";
import { Pipeline } from "../src/pipeline/pipeline.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { readF32, readSafetensors } from "../src/weights/safetensors.ts";
import { goldensFor, testRuns } from "./devices.ts";
import type { GoldenRequest } from "./golden.ts";
import { goldenFolder, requestFor, toleranceOf } from "./golden.ts";
import type { TestRun } from "./held.ts";
import { openHeld, targetsFor } from "./held.ts";

interface Cases {
  request: GoldenRequest;
  multipliers: number[];
  files: Record<string, string>;
  several: Record<string, [string, number][]>;
}

// What diffusers, PEFT, ai-toolkit's and LyCORIS's modules made of each file: reference/golden_loras.py.
// GOLDEN_LORAS names a folder of others, of another seed: LoRAs that this code has not seen.
const folder = process.env.GOLDEN_LORAS ?? join(goldenFolder, "loras");
const cases: Cases = JSON.parse(readFileSync(join(folder, "cases.json"), "utf8"));
const { request } = cases;
export const { multipliers, files, several }: Cases = cases;
export const fileOf = (name: string): string => join(folder, "files", files[name]!);

/** Of each set of golden weights: the results. With `exact` weights the latents alone. */
const results = {
  tiny: (await readSafetensors(join(folder, "results.safetensors"))).tensors,
  exact: (await readSafetensors(join(goldenFolder, "exact", "loras.safetensors"))).tensors,
};

// One pipeline of a kind for all of them: what a LoRA leaves behind would show in the next one's numbers.
const pipelines = new Map<TestRun, Pipeline>();
for (const kind of testRuns) {
  const components = await openHeld(
    join(goldenFolder, goldensFor(kind.storage), "store"),
    modelById("zimage_turbo"),
    kind,
  );
  const targets = await targetsFor(kind.device, components);
  pipelines.set(kind, new Pipeline(components, { ...targets, keepOpen: true }));
}

export async function releasePipelines(): Promise<void> {
  for (const pipeline of pipelines.values()) await pipeline.release();
}

interface Drawn {
  readonly storage: TestRun["storage"];
  readonly latents: Tensor;
  readonly image: Tensor;
}

export async function run(
  loras: readonly { path: string; multiplier: number }[],
  kind: TestRun = testRuns[0]!,
): Promise<Drawn> {
  let last: StepProgress | undefined;
  const { image } = await generate(
    pipelines.get(kind)!,
    requestFor(request, { profile: "diffusers", loras: [...loras] }),
    {
      onStep: (progress) => {
        last = progress;
      },
    },
  );
  return { storage: kind.storage, latents: last!.latents, image };
}

/** @param widened what a conversion's own rounding allows beyond the manifest, of the latents' largest value */
export async function expectGolden(
  name: string,
  { storage, latents, image }: Drawn,
  widened = 0,
): Promise<void> {
  const goldens = goldensFor(storage);
  const golden = async (what: string) => readF32(results[goldens].get(`${name}.${what}`)!);
  // Also for LoRAs of another seed.
  const near = (what: string) => toleranceOf("loras/results.safetensors", `${name}.${what}`);
  const [ofLatents, ofImage] = [near("latents"), near("image")];
  expect(latents).toBeAllclose(await golden("latents"), {
    ...ofLatents,
    rtol: Math.max(ofLatents.rtol, widened),
  });
  if (goldens === "exact") return;
  expect(image).toBeAllclose(await golden("image"), {
    ...ofImage,
    atol: Math.max(ofImage.atol, widened),
  });
}
