import fc from "fast-check";
import { expect, test } from "vitest";
import { blankPng, textChunk, withChunks } from "../../test/picture-texts.ts";
import { InputError } from "../errors.ts";
import { stateFile } from "./state-file.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

/** A ComfyUI graph with what the official template has, and some of its values changed. */
function graph(sampler: Record<string, unknown> = {}, shift = 3): string {
  return JSON.stringify({
    "1": {
      class_type: "KSampler",
      inputs: {
        ...{ seed: 7, steps: 8, cfg: 1, sampler_name: "euler", scheduler: "simple", denoise: 1 },
        ...{ model: ["2", 0], positive: ["3", 0], negative: ["4", 0], latent_image: ["5", 0] },
        ...sampler,
      },
    },
    "2": { class_type: "ModelSamplingAuraFlow", inputs: { shift, model: ["6", 0] } },
    "3": { class_type: "CLIPTextEncode", inputs: { text: "a cat", clip: ["8", 0] } },
    "4": { class_type: "CLIPTextEncode", inputs: { text: "dog", clip: ["8", 0] } },
    "5": { class_type: "EmptySD3LatentImage", inputs: { width: 64, height: 96, batch_size: 1 } },
    "6": {
      class_type: "LoraLoaderModelOnly",
      inputs: { lora_name: "styles/mine.safetensors", strength_model: 0.8, model: ["7", 0] },
    },
    "7": { class_type: "UNETLoader", inputs: { unet_name: "z_image_turbo_bf16.safetensors" } },
    "8": { class_type: "CLIPLoader", inputs: { clip_name: "qwen_3_4b.safetensors" } },
    "9": { class_type: "SaveImage", inputs: { images: ["1", 0] } },
  });
}

async function pictureOf(chunk: Buffer): Promise<Buffer> {
  return withChunks(await blankPng(64, 96), chunk);
}

test("ComfyUI with Euler and simple is carried over exactly: guidance is its cfg, N steps make N updates", async () => {
  const picture = await pictureOf(textChunk("prompt", graph({ cfg: 4 })));
  const stated = {
    source: "a picture of ComfyUI",
    model: "zimage_turbo",
    request: {
      prompt: "a cat",
      negativePrompt: "dog",
      width: 64,
      height: 96,
      steps: 8,
      guidanceScale: 4,
      seed: 7n,
      profile: "preview-0.10.25",
    },
    loras: [{ name: "mine.safetensors", multiplier: 0.8, sha256: null, file: null }],
    asTrained: null,
    tool: expect.objectContaining({
      name: "ComfyUI",
      settings: expect.arrayContaining([{ setting: "guidance", name: "cfg", value: "4" }]),
    }),
    warnings: [],
  };
  expect(await stateFile(picture, "a.png")).toEqual(stated);
  // The graph alone, as the editor exports it.
  expect(await stateFile(bytes(graph({ cfg: 4 })), "graph.json")).toEqual(stated);
});

test("what can't be carried over is warned of by name", async () => {
  const warningsOf = async (sampler: Record<string, unknown>, shift?: number) =>
    (await stateFile(await pictureOf(textChunk("prompt", graph(sampler, shift))), "a")).warnings;
  expect(await warningsOf({ sampler_name: "res_multistep" })).toEqual([
    expect.stringContaining("res_multistep is not drawn"),
  ]);
  expect(await warningsOf({ scheduler: "beta" })).toEqual([
    expect.stringMatching(/noise levels \(beta, shift 3\) .* up to 0\.14 of 1/),
  ]);
  expect(await warningsOf({}, 5)).toEqual([expect.stringMatching(/simple, shift 5/)]);
  expect(await warningsOf({ steps: 7 })).toEqual([expect.stringMatching(/up to 0\.00037/)]);
  expect(await warningsOf({ scheduler: "of my own" })).toEqual([
    expect.stringContaining("of my own is none that is computed here"),
  ]);
  expect(await warningsOf({ cfg: 0.5 })).toEqual([expect.stringContaining("cfg 0.5 weakens")]);
});

test("stable-diffusion.cpp's own schedule is nearest to the older eras", async () => {
  const infotext =
    "a cat\nSteps: 25, CFG scale: 4.0, Seed: 7, Size: 64x96, RNG: cuda, Sampler: euler discrete, Version: stable-diffusion.cpp";
  const { request, warnings } = await stateFile(
    await pictureOf(textChunk("parameters", infotext)),
    "a",
  );
  expect(request).toMatchObject({ profile: "preview-0.10.21", steps: 25, guidanceScale: 4 });
  expect(warnings).toEqual([
    expect.stringContaining("up to 0.0030"),
    expect.stringContaining("as a graphics card does"),
  ]);
});

test("Retake's own picture is its request again", async () => {
  const parameters = {
    software: "retake 0.1.0",
    model: "zimage_turbo",
    transformer: { file: "z.gguf", quantization: "Q8_0" },
    as_trained: {
      transformer: "torchao",
      text_encoder: "quanto",
      embedders: false,
      training_adapter: "zimage_turbo_training_adapter_v2.safetensors",
    },
    profile: "preview-0.7.25",
    prompt: "a cat",
    negative_prompt: "dog",
    width: 64,
    height: 96,
    num_inference_steps: 9,
    guidance_scale: 2.5,
    seed: 5,
    loras: [{ sha256: "ab".repeat(32), name: null, network_multiplier: -1 }],
  };
  const picture = await pictureOf(textChunk("parameters", JSON.stringify(parameters)));
  expect(await stateFile(picture, "a.png")).toMatchObject({
    model: "zimage_turbo",
    request: {
      prompt: "a cat",
      negativePrompt: "dog",
      width: 64,
      height: 96,
      steps: 9,
      guidanceScale: 2.5,
      seed: 5n,
      profile: "preview-0.7.25",
    },
    loras: [{ multiplier: -1, sha256: "ab".repeat(32) }],
    asTrained: {
      transformer: "torchao",
      textEncoder: "quanto",
      embedders: false,
      adapter: "ostris/zimage_turbo_training_adapter/zimage_turbo_training_adapter_v2.safetensors",
    },
    warnings: ["The transformer was the file z.gguf: on the command line, --transformer takes it."],
  });
});

test("a request of the reference server", async () => {
  const body = {
    model: "zimage",
    loras: [{ path: "mine.safetensors", network_multiplier: 0.5 }],
    trigger_word: "zorple",
    prompts: [
      { prompt: "[trigger] a cat", sample_steps: 4 },
      { prompt: "a dog", neg: "cat", seed: 9, ctrl_img: "x", trigger_word: "" },
    ],
  };
  const text = bytes(JSON.stringify(body));
  expect(await stateFile(text, "body.json", { sample: 1 })).toMatchObject({
    model: "zimage",
    request: { prompt: "a dog", negativePrompt: "cat", seed: 9n, profile: "reference" },
    loras: [{ name: "mine.safetensors", multiplier: 0.5 }],
    warnings: ['"ctrl_img" does nothing: Z-Image has no use for it.'],
  });
  const first = await stateFile(text, "body.json");
  expect(first.request).toMatchObject({ triggerWord: "zorple", steps: 4, seed: 42n });
  expect(first.warnings).toEqual([expect.stringContaining("It has 2 prompts: number 0 is taken")]);
  expect(first.asTrained).toBeNull();
  const rounded = bytes(JSON.stringify({ ...body, as_trained: true }));
  expect((await stateFile(rounded, "body.json", { sample: 0 })).asTrained).toMatchObject({
    transformer: "quanto",
  });
  await expect(stateFile(text, "body.json", { sample: 2 })).rejects.toThrow(
    /there are 2 prompts, counted from 0/,
  );
  const wrong = bytes(JSON.stringify({ ...body, prompts: [{ prompt: "x", width: "wide" }] }));
  await expect(stateFile(wrong, "body.json")).rejects.toThrow(/prompts\.0\.width: Input should be/);
});

const config = `
job: extension
config:
  name: my_lora
  process:
    - type: diffusion_trainer
      trigger_word: zorple
      network: { type: lora, linear: 16 }
      train: { dtype: bf16 }
      model: { name_or_path: Tongyi-MAI/Z-Image-Turbo, arch: "zimage:turbo", quantize: true, quantize_te: true, qtype: qfloat8, assistant_lora_path: ostris/zimage_turbo_training_adapter/zimage_turbo_training_adapter_v2.safetensors }
      sample:
        width: 1024
        height: 768
        seed: 42
        walk_seed: true
        guidance_scale: 1
        sample_steps: 9
        samples:
          - prompt: "[trigger] a cat"
          - prompt: "a dog --m 0.5 --w 530 --n cats"
            guidance_scale: 25
`;

test("a sample of a job's configuration, with its flags, its trigger word and its rounding", async () => {
  const stated = await stateFile(bytes(config), "config.yaml", { sample: 1 });
  expect(stated).toMatchObject({
    source: "sample 1 of the job my_lora",
    model: "zimage_turbo",
    request: {
      prompt: "a dog",
      negativePrompt: "cats",
      width: 528,
      height: 768,
      steps: 9,
      guidanceScale: 25,
      seed: 43n,
      profile: "preview",
    },
    loras: [{ name: "my_lora.safetensors", multiplier: 0.5 }],
    asTrained: { transformer: "torchao", textEncoder: "quanto" },
    warnings: [],
  });
  const first = await stateFile(bytes(config), "config.yaml", { sample: 0 });
  expect(first.request.prompt).toBe("zorple a cat");
});

test("a picture's only request is number 0, and what is no request is named", async () => {
  const picture = await pictureOf(textChunk("prompt", graph()));
  await expect(stateFile(picture, "a.png", { sample: 1 })).rejects.toThrow(/holds one request/);
  for (const nothing of [bytes('{"a": 1}'), bytes("\0"), new Uint8Array([0xff, 0xff])]) {
    await expect(stateFile(nothing, "a.bin")).rejects.toThrow(/a\.bin states no request/);
  }
  await expect(stateFile(bytes("a: b"), "x.yaml")).rejects.toThrow(/not the configuration/);
  const empty = await pictureOf(textChunk("prompt", JSON.stringify({ "1": { class_type: "X" } })));
  await expect(stateFile(empty, "a.png")).rejects.toThrow(/No node of the graph draws a picture/);
});

test("no file is a fault", async () => {
  const sources = [
    graph(),
    config,
    '{"model": "zimage", "loras": [], "prompts": [{"prompt": ""}]}',
  ];
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.json().map((text) => bytes(text)),
        fc.uint8Array({ maxLength: 60 }),
        fc
          .tuple(fc.constantFrom(...sources), fc.nat(800), fc.string(), fc.nat(40))
          .map(([text, at, put, cut]) => bytes(text.slice(0, at) + put + text.slice(at + cut))),
      ),
      async (file) => {
        await stateFile(file, "file").catch((error: unknown) => {
          expect(error).toBeInstanceOf(InputError);
        });
      },
    ),
    { numRuns: 300 },
  );
});
