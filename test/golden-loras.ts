import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import type { Device } from "../src/config/model-options.ts";
import { modelById } from "../src/models/registry.ts";
import { openComponents } from "../src/pipeline/components.ts";
import type { StepProgress } from "../src/pipeline/generate.ts";
import { generate } from "../src/pipeline/generate.ts";
import { Pipeline } from "../src/pipeline/pipeline.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { readF32, readSafetensors } from "../src/weights/safetensors.ts";
import { f32Target, testDevices } from "./devices.ts";
import type { GoldenRequest } from "./golden.ts";
import { goldenFolder, requestFor, toleranceOf } from "./golden.ts";

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

const components = await openComponents(
  join(goldenFolder, "tiny", "store"),
  modelById("zimage_turbo"),
);
// One pipeline of a device for all of them: what a LoRA leaves behind would show in the next one's numbers.
const pipelines = new Map<Device, Pipeline>();
for (const device of testDevices) {
  const target = await f32Target(device);
  pipelines.set(device, new Pipeline(components, { target, textTarget: target, keepOpen: true }));
}

export async function releasePipelines(): Promise<void> {
  for (const pipeline of pipelines.values()) await pipeline.release();
}

export async function run(
  loras: readonly { path: string; multiplier: number }[],
  device: Device = testDevices[0]!,
): Promise<{ latents: Tensor; image: Tensor }> {
  let last: StepProgress | undefined;
  const { image } = await generate(
    pipelines.get(device)!,
    requestFor(request, { profile: "diffusers", loras: [...loras] }),
    {
      onStep: (progress) => {
        last = progress;
      },
    },
  );
  return { latents: last!.latents, image };
}

/** @param widened what a conversion's own rounding allows beyond the manifest, of the latents' largest value */
export async function expectGolden(
  name: string,
  { latents, image }: { latents: Tensor; image: Tensor },
  widened = 0,
): Promise<void> {
  const golden = async (what: string) => readF32(results.get(`${name}.${what}`)!);
  // Also for LoRAs of another seed.
  const near = (what: string) => toleranceOf("loras/results.safetensors", `${name}.${what}`);
  const [ofLatents, ofImage] = [near("latents"), near("image")];
  expect(latents).toBeAllclose(await golden("latents"), {
    ...ofLatents,
    rtol: Math.max(ofLatents.rtol, widened),
  });
  expect(image).toBeAllclose(await golden("image"), {
    ...ofImage,
    atol: Math.max(ofImage.atol, widened),
  });
}
