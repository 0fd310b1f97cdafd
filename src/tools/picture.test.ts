import fc from "fast-check";
import { expect, test } from "vitest";
import { blank, blankPng, textChunk, withChunks } from "../../test/picture-texts.ts";
import { InputError } from "../errors.ts";
import type { JsonValue } from "../wire/python-json.ts";
import { readInfotext } from "./a1111.ts";
import { parseGraph } from "./comfy-graph.ts";
import { readComfyGraph } from "./comfyui.ts";
import { parseInfotext } from "./infotext.ts";
import { readPicture } from "./picture.ts";

const graph = JSON.stringify({
  "1": {
    class_type: "KSampler",
    inputs: {
      seed: 3,
      steps: 8,
      cfg: 1,
      sampler_name: "euler",
      scheduler: "simple",
      denoise: 1,
      model: ["2", 0],
      positive: ["3", 0],
      negative: ["3", 0],
      latent_image: ["4", 0],
    },
    is_changed: [Number.NaN],
  },
  "2": { class_type: "UNETLoader", inputs: { unet_name: "z.safetensors" } },
  "3": { class_type: "CLIPTextEncode", inputs: { text: "a cat" } },
  "4": { class_type: "EmptySD3LatentImage", inputs: { width: 64, height: 64, batch_size: 1 } },
  "5": { class_type: "SaveImage", inputs: { images: ["1", 0] } },
}).replace("null", "NaN");

const infotext = "a dog\nSteps: 8, Sampler: Euler, CFG scale: 1, Seed: 5, Size: 64x64";

test("a graph counts before an infotext that stands beside it, and NaN is read", async () => {
  const png = withChunks(
    await blankPng(),
    textChunk("parameters", infotext),
    textChunk("prompt", graph),
  );
  const { settings, embedded } = await readPicture(png);
  expect(settings).toMatchObject({ tool: "comfyui", seed: 3n, prompt: "a cat" });
  expect(embedded.texts.map(({ name }) => name)).toEqual(["parameters", "prompt"]);
});

test("a strength that is no number is listed, not used", async () => {
  const tagged = infotext.replace("a dog", "a dog <lora:a:strong> <lora:b:0.5>");
  const { settings } = await readPicture(
    withChunks(await blankPng(), textChunk("parameters", tagged)),
  );
  expect(settings.loras).toEqual([{ name: "b", strength: 0.5 }]);
  expect(settings.unread).toEqual(["The strength of the LoRA a is no number."]);
});

test("ComfyUI's WebP keeps the graph in Exif", async () => {
  const webp = await blank(64, 64)
    .withExif({ IFD0: { Model: `prompt:${graph}` } })
    .webp()
    .toBuffer();
  expect((await readPicture(webp)).settings.seed).toBe(3n);
});

test("a graph that was cut is named", async () => {
  const png = withChunks(await blankPng(), textChunk("prompt", graph.slice(0, 100)));
  await expect(readPicture(png)).rejects.toThrow(/The ComfyUI graph is no JSON: .* changed or cut/);
});

test("a picture without parameters says what is in it", async () => {
  await expect(readPicture(await blankPng())).rejects.toThrow(/holds no text/);
  const png = withChunks(await blankPng(), textChunk("Author", "me"));
  await expect(readPicture(png)).rejects.toThrow(/holds only PNG text Author/);
});

/** Links and values as a hostile graph may hold them. */
const input = fc.oneof(
  fc.tuple(fc.constantFrom("1", "2", "3", "4", "5"), fc.integer({ min: -1, max: 3 })),
  fc.integer(),
  fc.double(),
  fc.string(),
  fc.constant(null),
  fc.boolean(),
  fc.constant({ on: true, lora: "x" }),
);
const inputNames = [
  "model",
  "positive",
  "negative",
  "latent_image",
  "noise",
  "guider",
  "sampler",
  "sigmas",
  "samples",
  "images",
  "seed",
  "steps",
  "cfg",
  "text",
  "conditioning",
  "shift",
  "lora_name",
  "width",
  "height",
  "clip",
  "vae",
  "string_a",
  "string_b",
];
const types = [
  "KSampler",
  "KSamplerAdvanced",
  "SamplerCustomAdvanced",
  "CFGGuider",
  "BasicScheduler",
  "ManualSigmas",
  "SplitSigmas",
  "LoraLoader",
  "ModelSamplingAuraFlow",
  "CLIPTextEncode",
  "ConditioningCombine",
  "ConditioningZeroOut",
  "StringConcatenate",
  "EmptySD3LatentImage",
  "SaveImage",
  "VAEDecode",
  "Unknown",
];
const node = fc.record({
  class_type: fc.constantFrom(...types),
  inputs: fc.dictionary(fc.constantFrom(...inputNames), input, { maxKeys: 12 }),
});

test("no graph is a fault: what can't be read is listed or refused", () => {
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom("1", "2", "3", "4", "5"), node), (nodes) => {
      try {
        readComfyGraph(parseGraph(nodes as JsonValue), { width: 64, height: 64 });
      } catch (error) {
        expect(error).toBeInstanceOf(InputError);
      }
    }),
    { numRuns: 1000 },
  );
});

test("a chain of nodes without end is given up", () => {
  const chain = Object.fromEntries(
    Array.from({ length: 4990 }, (_, i) => [
      `c${i}`,
      {
        class_type: "Unknown",
        inputs: { conditioning: [`c${i + 1}`, 0], value: [`c${i + 1}`, 0] },
      },
    ]),
  );
  const nodes = { ...JSON.parse(graph.replace("NaN", "0")), ...chain };
  const read = (inputs: Record<string, unknown>) =>
    readComfyGraph(parseGraph({ ...nodes, "3": { class_type: "CLIPTextEncode", inputs } }), {
      width: 64,
      height: 64,
    }).unread[0];
  expect(read({ text: ["c0", 0] })).toMatch(/made by nodes that are not known/);
  nodes["1"].inputs.positive = ["c0", 0];
  expect(read({})).toMatch(/have no end/);
});

test("no infotext is a fault", () => {
  const word = fc.constantFrom(
    "Steps: ",
    "Seed: ",
    "Size: ",
    "8x8",
    ", ",
    "\n",
    '"',
    "\\",
    "[",
    "]",
    "<lora:a:",
    ">",
    "Negative prompt:",
    "SDCPP: {",
    "1",
    "Version: stable-diffusion.cpp",
    "Sampler: x",
    "Custom Sigmas: ",
  );
  const text = fc
    .array(fc.oneof(word, fc.string({ unit: "binary" })))
    .map((parts) => parts.join(""));
  fc.assert(
    fc.property(text, (sample) => {
      try {
        const parsed = parseInfotext(sample);
        if (parsed !== undefined) readInfotext(parsed);
      } catch (error) {
        expect(error).toBeInstanceOf(InputError);
      }
    }),
    { numRuns: 1000 },
  );
});
