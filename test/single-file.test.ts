import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { generateRequestSchema } from "../src/job/request.ts";
import { modelById } from "../src/models/registry.ts";
import type { ComponentOptions } from "../src/pipeline/components.ts";
import { openComponents } from "../src/pipeline/components.ts";
import { fingerprintWeights } from "../src/pipeline/fingerprint.ts";
import { generate } from "../src/pipeline/generate.ts";
import { Pipeline } from "../src/pipeline/pipeline.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { readSafetensors } from "../src/weights/safetensors.ts";
import { testRuns } from "./devices.ts";
import { goldenFolder } from "./golden.ts";
import type { TestRun } from "./held.ts";
import { openHeld, targetsFor } from "./held.ts";
import type { RawTensor } from "./tensor-file.ts";
import { rawTensor, writeTensorFile } from "./tensor-file.ts";

const store = join(goldenFolder, "tiny/store");
const storeTransformer = join(store, "Tongyi-MAI/Z-Image-Turbo/transformer");
const turbo = modelById("zimage_turbo");
const request = {
  ...generateRequestSchema.parse({ prompt: "a red fox" }),
  width: 64,
  height: 32,
  steps: 3,
  guidanceScale: 1,
};

let folder: string;
let plain: Map<string, RawTensor>;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "retake-single-"));
  const file = join(storeTransformer, "diffusion_pytorch_model.safetensors");
  const { tensors } = await readSafetensors(file);
  plain = new Map([...tensors].map(([name, span]) => [name, rawTensor(span)]));
});
afterAll(() => rmSync(folder, { recursive: true }));

async function picture(kind: TestRun, options: Partial<ComponentOptions>): Promise<Tensor> {
  const components = await openHeld(store, turbo, kind, options);
  const targets = await targetsFor(kind.device, components);
  const pipeline = new Pipeline(components, { ...targets, keepOpen: true });
  try {
    let latents: Tensor | undefined;
    await generate(pipeline, request, {
      onStep: (step) => {
        latents = step.latents;
      },
    });
    return latents!;
  } finally {
    await pipeline.release();
  }
}

/** What the published single files hold: other names, one matrix for q, k and v, a norm that nobody reads. */
function original(prefix: string): Map<string, RawTensor> {
  const named = new Map<string, RawTensor>();
  for (const [name, tensor] of plain) {
    if (/\.to_[kv]\.weight$/.test(name)) continue;
    if (name.endsWith(".to_q.weight")) {
      const parts = ["q", "k", "v"].map((x) => plain.get(name.replace("to_q", `to_${x}`))!);
      const [rows, columns] = tensor.shape;
      named.set(prefix + name.replace("to_q", "qkv"), {
        ...tensor,
        shape: [3 * rows!, columns!],
        bytes: Buffer.concat(parts.map(({ bytes }) => bytes)),
      });
      continue;
    }
    const other = name
      .replace(/^all_(\w+)\.2-1/, "$1")
      .replace("to_out.0", "out")
      .replace(/norm_([qk])\./, "$1_norm.");
    named.set(prefix + other, tensor);
  }
  named.set(`${prefix}norm_final.weight`, { ...plain.get("layers.0.ffn_norm1.weight")! });
  return named;
}

function write(name: string, tensors: ReadonlyMap<string, RawTensor>): string {
  const path = join(folder, name);
  writeTensorFile(path, tensors);
  return path;
}

const empty: RawTensor = { dtype: "F32", shape: [1], bytes: new Uint8Array(4) };

const title = "the latents are those of the folder, to the last bit, on $device, $storage weights";
describe.each(testRuns)(title, (kind) => {
  let folderLatents: Tensor;
  beforeAll(async () => {
    folderLatents = await picture(kind, {});
  });
  test.each([
    ["diffusers' names", () => plain],
    ["the original names", () => original("")],
    [
      "a checkpoint with the other parts",
      () =>
        new Map([
          ...original("model.diffusion_model."),
          ["text_encoders.qwen3_4b.logit_scale", empty] as const,
          ["vae.decoder.conv_in.weight", empty] as const,
        ]),
    ],
  ])("%s", async (name, tensors) => {
    const transformer = write(`${name.replaceAll(/\W/g, "-")}.safetensors`, tensors());
    expect(await picture(kind, { transformer })).toEqual(folderLatents);
  });
});

test("with a configuration beside the file, where the store has none", async () => {
  const own = join(folder, "own");
  mkdirSync(own);
  copyFileSync(join(storeTransformer, "config.json"), join(own, "config.json"));
  const transformer = write("own/model.safetensors", original(""));
  const deturbo = await openComponents(store, modelById("zimage_deturbo"), {
    transformer,
    cacheFolder: folder,
  });
  expect(deturbo.transformer).toMatchObject({
    fileName: "model.safetensors",
    quantization: null,
  });
  expect(deturbo.transformer.config.dim).toBe(48);
});

test("the fingerprint is the file's", async () => {
  const one = write("one.safetensors", plain);
  const matrix = plain.get("layers.0.feed_forward.w1.weight")!;
  const changed = new Map(plain).set("layers.0.feed_forward.w1.weight", {
    ...matrix,
    bytes: matrix.bytes.map(() => 0),
  });
  const other = write("other.safetensors", changed);
  const prints = [];
  for (const options of [{ transformer: one }, { transformer: other }]) {
    prints.push(
      await fingerprintWeights(
        await openComponents(store, turbo, { cacheFolder: folder, ...options }),
      ),
    );
  }
  expect(new Set(prints.map(({ transformer }) => transformer)).size).toBe(2);
  expect(new Set(prints.map(({ vae }) => vae)).size).toBe(1);
});

describe("what is no Z-Image transformer, or not whole, is named", () => {
  const named = (...names: string[]) => new Map(names.map((name) => [name, empty] as const));
  const cases: [string, () => ReadonlyMap<string, RawTensor>, RegExp][] = [
    ["SDXL", () => named("model.diffusion_model.input_blocks.0.0.weight"), /like a Stable Diff/],
    ["FLUX", () => named("double_blocks.0.img_attn.qkv.weight"), /like a FLUX transformer/],
    ["Qwen-Image", () => named("transformer_blocks.0.img_mod.1.weight"), /like a Qwen-Image/],
    ["Lumina", () => named("layers.0.adaLN_modulation.1.weight"), /like a Lumina Image 2\.0/],
    ["a VAE", () => named("decoder.conv_in.weight"), /like a VAE/],
    ["an encoder", () => named("model.layers.0.self_attn.q_proj.weight"), /language model/],
    [
      "a LoRA",
      () => named("diffusion_model.layers.0.attention.to_q.lora_A.weight"),
      /like a LoRA file: name it with --lora/,
    ],
    ["nothing known", () => named("a"), /has no tensor layers\.0\.adaLN/],
    [
      "a leftover",
      () => new Map(plain).set("siglip.weight", empty),
      /doesn't have: siglip\.weight/,
    ],
    [
      "a leftover beside the prefix",
      () => new Map(original("model.diffusion_model.")).set("control.x", empty),
      /doesn't have: control\.x/,
    ],
    [
      "two names for one",
      () => new Map(plain).set("x_embedder.weight", empty),
      /all_x_embedder\.2-1\.weight twice/,
    ],
    [
      "a missing one",
      () => new Map([...plain].filter(([name]) => name !== "x_pad_token")),
      /x_pad_token is missing/,
    ],
    [
      "another shape",
      () => new Map(plain).set("x_pad_token", { ...empty, shape: [1, 1] }),
      /x_pad_token is \[1,1\], the configuration implies \[1,48\]/,
    ],
    [
      "a number that isn't computed",
      () =>
        new Map(plain).set("x_pad_token", {
          dtype: "I8",
          shape: [1, 48],
          bytes: new Uint8Array(48),
        }),
      /x_pad_token is I8/,
    ],
  ];
  test.each(cases)("%s", async (_, tensors, reason) => {
    const transformer = write("wrong.safetensors", tensors());
    await expect(
      openComponents(store, turbo, { transformer, cacheFolder: folder }),
    ).rejects.toThrow(reason);
  });

  test("without any configuration an unknown head width is an error", async () => {
    const bare = write("bare.safetensors", plain);
    await expect(
      openComponents(store, modelById("zimage_deturbo"), {
        transformer: bare,
        cacheFolder: folder,
      }),
    ).rejects.toThrow(/heads of width 24.*config\.json beside the file/);
  });

  test("a config.json of something else is not taken", async () => {
    const own = join(folder, "lone");
    mkdirSync(own);
    writeFileSync(join(own, "config.json"), '{"_class_name":"FluxTransformer2DModel"}');
    const transformer = write("lone/model.safetensors", plain);
    const kind = testRuns[0]!;
    expect(await picture(kind, { transformer })).toEqual(await picture(kind, {}));
  });
});
