import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { modelById } from "../src/models/registry.ts";
import { openComponents } from "../src/pipeline/components.ts";
import type { StepProgress } from "../src/pipeline/generate.ts";
import { generate } from "../src/pipeline/generate.ts";
import { Pipeline } from "../src/pipeline/pipeline.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { readF32, readSafetensors } from "../src/weights/safetensors.ts";
import type { GoldenRequest } from "./golden.ts";
import { goldenFolder, requestFor } from "./golden.ts";

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
const { tensors: results } = await readSafetensors(join(folder, "results.safetensors"));
export const fileOf = (name: string): string => join(folder, "files", files[name]!);

// One pipeline for all of them: what a LoRA leaves behind would show in the next one's numbers.
export const pipeline: Pipeline = new Pipeline(
  await openComponents(join(goldenFolder, "tiny", "store"), modelById("zimage_turbo")),
  { device: "cpu", compute: "f32", keepOpen: true },
);

export async function run(
  loras: readonly { path: string; multiplier: number }[],
): Promise<{ latents: Tensor; image: Tensor }> {
  let last: StepProgress | undefined;
  const { image } = await generate(
    pipeline,
    requestFor(request, { profile: "diffusers", loras: [...loras] }),
    {
      onStep: (progress) => {
        last = progress;
      },
    },
  );
  return { latents: last!.latents, image };
}

/** atol 1e-4 and rtol 1e-3 of the tensor's scale for latents, 1/255 for a picture's values. */
export async function expectGolden(
  name: string,
  { latents, image }: { latents: Tensor; image: Tensor },
  rtol = 1e-3,
): Promise<void> {
  const golden = async (what: string) => readF32(results.get(`${name}.${what}`)!);
  expect(latents).toBeAllclose(await golden("latents"), { atol: 1e-4, rtol, of: "scale" });
  expect(image).toBeAllclose(await golden("image"), { atol: Math.max(1 / 255, rtol), rtol: 0 });
}
