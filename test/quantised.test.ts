import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Device } from "../src/config/model-options.ts";
import { modelById } from "../src/models/registry.ts";
import type { ComponentOptions, Components } from "../src/pipeline/components.ts";
import { openComponents } from "../src/pipeline/components.ts";
import { fingerprintWeights } from "../src/pipeline/fingerprint.ts";
import { generate } from "../src/pipeline/generate.ts";
import { openPipeline } from "../src/pipeline/open.ts";
import { Pipeline } from "../src/pipeline/pipeline.ts";
import type { HeldStorage } from "../src/pipeline/weight-forms.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { readGguf } from "../src/weights/gguf.ts";
import { readF32, readSafetensors } from "../src/weights/safetensors.ts";
import { testDevices } from "./devices.ts";
import type { GoldenRequest } from "./golden.ts";
import { goldenFolder, readGolden, requestFor, toleranceOf } from "./golden.ts";
import { openHeld, targetsFor } from "./held.ts";
import type { RawTensor } from "./tensor-file.ts";
import { rawTensor, writeTensorFile } from "./tensor-file.ts";

interface Request extends GoldenRequest {
  lora: [string, number][];
}

const quantised = join(goldenFolder, "quantised");
const store = join(goldenFolder, "tiny/store");
const turbo = modelById("zimage_turbo");
const requests = readGolden<Record<string, Request>>("quantised/requests.json");

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-quantised-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Latents and predictions of each step, under the names of traces. */
async function run(
  components: Components,
  request: Request,
  device: Device,
): Promise<Map<string, Tensor>> {
  const targets = await targetsFor(device, components);
  const pipeline = new Pipeline(components, { ...targets, keepOpen: true });
  const loras = request.lora.map(([file, multiplier]) => ({
    path: join(quantised, file),
    multiplier,
  }));
  const tensors = new Map<string, Tensor>();
  try {
    await generate(pipeline, requestFor(request, { profile: "diffusers", loras }), {
      onStep: ({ step, latents, noisePred }) => {
        tensors.set(`latents.${step - 1}`, latents).set(`noise_pred.${step - 1}`, noisePred);
      },
    });
  } finally {
    await pipeline.release();
  }
  return tensors;
}

describe.each(testDevices)(
  "a run on %s equals diffusers' on the values that the weights hold",
  (device) => {
    const mixed = "gguf Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0";
    const file = (name: string) => ({ transformer: join(quantised, name) });
    // The golden, how the result calls the weights, the storage, the file.
    const cases: [string, string | null, HeldStorage, Partial<ComponentOptions>][] = [
      ["fp8-cast", "f8_e4m3, f8_e5m2", "original", file("fp8-cast.safetensors")],
      ["fp8-rows", "f8_e4m3 scaled", "original", file("fp8-rows.safetensors")],
      ["fp8-scaled", "f8_e4m3 scaled", "original", file("fp8-scaled.safetensors")],
      ["gguf/mixed", mixed, "original", file("gguf/mixed.gguf")],
      // f16 and f32 hold fp8 exactly.
      ["fp8-cast", "f8_e4m3, f8_e5m2", "f16", file("fp8-cast.safetensors")],
      ["fp8-rows", "f8_e4m3 scaled", "f16", file("fp8-rows.safetensors")],
      ["fp8-scaled", "f8_e4m3 scaled", "f32", file("fp8-scaled.safetensors")],
      ["fp8-cast-int8", "f8_e4m3, f8_e5m2, int8", "int8", file("fp8-cast.safetensors")],
      ["fp8-rows-int8", "f8_e4m3 scaled, int8", "int8", file("fp8-rows.safetensors")],
      ["fp8-scaled-int8", "f8_e4m3 scaled, int8", "int8", file("fp8-scaled.safetensors")],
      // Of the store's f32. Rows of 48 are a block and a half.
      ["int8", "int8", "int8", {}],
      ["f16", null, "f16", {}],
    ];
    test.each(cases)("%s, %s as %s", async (name, quantization, storage, options) => {
      const own = { cacheFolder: folder, ...options };
      const components = await openHeld(store, turbo, { device, storage }, own);
      expect(components.transformer.quantization).toBe(quantization);
      const ours = await run(components, requests[name]!, device);
      const reference = await readSafetensors(join(quantised, `${name}.trace.safetensors`));
      expect([...ours.keys()].toSorted()).toEqual([...reference.tensors.keys()].toSorted());
      for (const [tensor, span] of reference.tensors) {
        const tolerance = toleranceOf(`quantised/${name}.trace.safetensors`, tensor);
        expect(ours.get(tensor)!, tensor).toBeAllclose(await readF32(span), tolerance);
      }
    });
  },
);

test("what is quantised is not quantised again; the fingerprint tells of rounding", async () => {
  const transformer = join(quantised, "gguf/mixed.gguf");
  const own = join(folder, "refused");
  const twice = openPipeline({
    model: turbo.id,
    weights: store,
    transformer,
    storage: "int8",
    cacheFolder: own,
  });
  await expect(twice).rejects.toThrow(
    /storage int8 on cpu: mixed\.gguf is quantised already \(gguf Q4_0.*Leave --storage/,
  );
  expect(existsSync(own)).toBe(false);
  const plain = await fingerprintWeights(await openComponents(store, turbo));
  const rounded = await fingerprintWeights(
    await openHeld(store, turbo, { device: "cpu", storage: "int8" }, { cacheFolder: folder }),
  );
  expect(rounded).toEqual({ ...plain, transformer: `${plain.transformer}+int8` });
});

describe("an fp8 file whose scales can't be meant is refused", () => {
  const layer = "layers.0.feed_forward.w1";
  const scalar = (value: number): RawTensor => ({
    dtype: "F32",
    shape: [],
    bytes: new Uint8Array(Float32Array.of(value).buffer),
  });
  const note = (text: string): RawTensor => {
    const bytes = new TextEncoder().encode(text);
    return { dtype: "U8", shape: [bytes.length], bytes };
  };
  type Tensors = Map<string, RawTensor>;
  const cases: [string, (tensors: Tensors) => unknown, RegExp][] = [
    [
      "a marker and no scale",
      (t) => t.set("scaled_fp8", { dtype: "F8_E4M3", shape: [0], bytes: new Uint8Array() }),
      /scaled fp8 file.*no scale: .*weight/,
    ],
    ["a scale for one only", (t) => t.set(`${layer}.scale_weight`, scalar(1)), /have no scale/],
    [
      "two scales",
      (t) => t.set(`${layer}.scale_weight`, scalar(1)).set(`${layer}.weight_scale`, scalar(1)),
      /w1\.weight has two scales/,
    ],
    [
      "of nothing",
      (t) => t.set("layers.9.x.scale_weight", scalar(1)),
      /layers\.9\.x\.weight, which/,
    ],
    [
      "by column",
      (t) =>
        t.set(`${layer}.weight_scale`, { ...scalar(1), shape: [1, 2], bytes: new Uint8Array(8) }),
      /is \[1,2\]; \[\] or \[128, 1\]/,
    ],
    [
      "of a norm",
      (t) => t.set("layers.0.ffn_norm1.scale_weight", scalar(1)),
      /belongs to what is no matrix/,
    ],
    [
      "another format",
      (t) => t.set(`${layer}.comfy_quant`, note('{"format":"nvfp4"}')),
      /w1 is stored as "nvfp4"/,
    ],
    [
      "a note that is none",
      (t) => t.set(`${layer}.comfy_quant`, note("{")),
      /comfy_quant does not say how/,
    ],
  ];
  test.each(cases)("%s", async (_, change, reason) => {
    const { tensors } = await readSafetensors(join(quantised, "fp8-cast.safetensors"));
    const changed: Tensors = new Map([...tensors].map(([name, span]) => [name, rawTensor(span)]));
    change(changed);
    const transformer = join(folder, "changed.safetensors");
    writeTensorFile(transformer, changed);
    await expect(
      openComponents(store, turbo, { transformer, cacheFolder: folder }),
    ).rejects.toThrow(reason);
  });
});

test("a NaN in fp8 is found and named", async () => {
  const { tensors } = await readSafetensors(join(quantised, "fp8-cast.safetensors"));
  const changed = new Map([...tensors].map(([name, span]) => [name, rawTensor(span)] as const));
  const name = "layers.0.attention.out.weight";
  const bytes = Uint8Array.from(changed.get(name)!.bytes);
  bytes[7] = 0xff;
  changed.set(name, { ...changed.get(name)!, bytes });
  const transformer = join(folder, "nan.safetensors");
  writeTensorFile(transformer, changed);
  const components = await openComponents(store, turbo, { transformer, cacheFolder: folder });
  await expect(run(components, requests["fp8-cast"]!, "cpu")).rejects.toThrow(
    /nan\.safetensors is damaged: tensor layers\.0\.attention\.to_out\.0\.weight holds NaN.* 7\./,
  );
});

test("a NaN among a GGUF file's scales is found before anything is cached", async () => {
  const bytes = readFileSync(join(quantised, "gguf/mixed.gguf"));
  const name = "layers.0.attention.out.weight";
  const tensor = (await readGguf(join(quantised, "gguf/mixed.gguf"))).tensors.get(name)!;
  bytes.writeUInt16LE(0x7e00, tensor.offset + 34);
  const own = mkdtempSync(join(folder, "own-"));
  const transformer = join(own, "nan.gguf");
  writeFileSync(transformer, bytes);
  copyFileSync(join(quantised, "gguf/config.json"), join(own, "config.json"));
  const cacheFolder = join(own, "cache");
  await expect(openComponents(store, turbo, { transformer, cacheFolder })).rejects.toThrow(
    /nan\.gguf is damaged: tensor layers\.0\.attention\.out\.weight has a scale/,
  );
  expect(readdirSync(cacheFolder)).toEqual([]);
});

test("a GGUF file of something else is refused before anything is cached", async () => {
  const other = join(folder, "other.gguf");
  const bytes = readFileSync(join(quantised, "gguf/mixed.gguf"));
  const at = bytes.indexOf("layers.0.adaLN_modulation.0.weight");
  bytes.write("q", at);
  writeFileSync(other, bytes);
  const cacheFolder = join(folder, "none");
  await expect(openComponents(store, turbo, { transformer: other, cacheFolder })).rejects.toThrow(
    /other\.gguf is not a Z-Image transformer/,
  );
  expect(existsSync(cacheFolder)).toBe(false);
});
