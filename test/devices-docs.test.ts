import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { Device } from "../src/config/model-options.ts";
import { modelById } from "../src/models/registry.ts";
import { chooseStorage } from "../src/pipeline/choose-storage.ts";
import type { Components } from "../src/pipeline/components.ts";
import { openComponents, parts, withWeights } from "../src/pipeline/components.ts";
import { realLayers, realShape } from "../src/pipeline/random-store.ts";
import { storageNeed } from "../src/pipeline/storage-need.ts";
import { sizeOf } from "../src/tensor/tensor.ts";

/** The demonstration's parts with the real model's shapes, in bf16, and no file behind them. */
async function realModel(): Promise<Components> {
  const demo = await openComponents("demo", modelById("zimage_turbo"));
  const shape = realShape(realLayers);
  const sized = (shapes: ReadonlyMap<string, readonly number[]>) =>
    new Map(
      [...shapes].map(([name, dims]) => [
        name,
        { dtype: "BF16" as const, shape: dims, file: "", offset: 0, byteLength: 2 * sizeOf(dims) },
      ]),
    );
  const transformer = parts.transformer.parse(shape.transformer, "");
  const vae = parts.vae.parse(shape.vae, "");
  return {
    ...demo,
    transformer: {
      ...withWeights(demo.transformer, sized(parts.transformer.expected(transformer))),
      config: transformer,
    },
    vae: { ...withWeights(demo.vae, sized(parts.vae.expected(vae))), config: vae },
  };
}

const page = readFileSync(new URL("../docs/devices.md", import.meta.url), "utf8");

const rows = [
  ["cuda", "original"],
  ["webgpu", "f16"],
  ["webgpu", "int8"],
  ["dml", "f16"],
  ["dml", "int8"],
] as const satisfies (readonly [Device, string])[];

test.each(rows)("the page tells what the real model needs on %s as %s", async (device, storage) => {
  const components = await realModel();
  const can = { device, memoryBytes: null, hasF16: true, maxBufferBytes: null };
  const gigabytes = [false, true].map((keepOpen) => {
    const need = storageNeed(components, can, keepOpen);
    return (chooseStorage(storage, need, can).needBytes / 1e9).toFixed(1);
  });
  const [alone, open] = gigabytes;
  expect(page).toContain(`| \`${device}\`, \`${storage}\` | ${alone} GB | ${open} GB |`);
});
