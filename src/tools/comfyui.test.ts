import { expect, test } from "vitest";
import type { JsonValue } from "../wire/python-json.ts";
import { parseGraph } from "./comfy-graph.ts";
import { readComfyGraph } from "./comfyui.ts";

type Nodes = Record<string, { class_type: string; inputs: Record<string, JsonValue> }>;

/** A graph as the official Z-Image templates make it: ids of a subgraph's nodes hold a colon. */
function graphOf(changes: Nodes = {}): Nodes {
  return {
    "9": { class_type: "SaveImage", inputs: { filename_prefix: "z-image", images: ["57:8", 0] } },
    "57:30": {
      class_type: "CLIPLoader",
      inputs: { clip_name: "qwen_3_4b.safetensors", type: "lumina2", device: "default" },
    },
    "57:29": { class_type: "VAELoader", inputs: { vae_name: "ae.safetensors" } },
    "57:28": {
      class_type: "UNETLoader",
      inputs: { unet_name: "z_image_bf16.safetensors", weight_dtype: "default" },
    },
    "57:12": {
      class_type: "LoraLoaderModelOnly",
      inputs: { lora_name: "mine.safetensors", strength_model: 0.8, model: ["57:28", 0] },
    },
    "57:11": {
      class_type: "ModelSamplingAuraFlow",
      inputs: { shift: 3, model: ["57:12", 0] },
    },
    "57:27": { class_type: "CLIPTextEncode", inputs: { text: "a cat", clip: ["57:30", 0] } },
    "57:33": { class_type: "CLIPTextEncode", inputs: { text: "", clip: ["57:30", 0] } },
    "57:13": {
      class_type: "EmptySD3LatentImage",
      inputs: { width: 1024, height: 768, batch_size: 1 },
    },
    "57:3": {
      class_type: "KSampler",
      inputs: {
        seed: 42,
        steps: 25,
        cfg: 4,
        sampler_name: "euler",
        scheduler: "simple",
        denoise: 1,
        model: ["57:11", 0],
        positive: ["57:27", 0],
        negative: ["57:33", 0],
        latent_image: ["57:13", 0],
      },
    },
    "57:8": { class_type: "VAEDecode", inputs: { samples: ["57:3", 0], vae: ["57:29", 0] } },
    ...changes,
  };
}

function read(nodes: Nodes) {
  return readComfyGraph(parseGraph(nodes as JsonValue), { width: 1024, height: 768 });
}

function withInputs(nodes: Nodes, id: string, inputs: Record<string, JsonValue>): Nodes {
  const node = nodes[id]!;
  return { ...nodes, [id]: { ...node, inputs: { ...node.inputs, ...inputs } } };
}

test("the template with one LoRA", () => {
  const settings = read(graphOf());
  expect(settings).toMatchObject({
    tool: "comfyui",
    prompt: "a cat",
    negative: { kind: "text", text: "" },
    standardCfg: 4,
    cfgOwn: { name: "cfg", value: 4 },
    steps: 25,
    sampler: "euler",
    scheduler: "simple",
    shift: 3,
    window: null,
    givenSigmas: null,
    seed: 42n,
    noise: "cpu",
    denoise: 1,
    width: 1024,
    height: 768,
    loras: [{ name: "mine.safetensors", strength: 0.8 }],
    model: "z_image_bf16.safetensors",
    vae: "ae.safetensors",
    textEncoder: "qwen_3_4b.safetensors",
    notes: [],
    unread: [],
  });
  expect(settings.own.guidance).toEqual({ name: "cfg", value: "4" });
  expect(settings.own.scheduler).toEqual({ name: "scheduler", value: "simple" });
});

test("LoRAs in the order they act, their own loaders too, and the ones that are off left out", () => {
  const { loras } = read(
    graphOf({
      "57:11": { class_type: "ModelSamplingAuraFlow", inputs: { shift: 3, model: ["57:41", 0] } },
      "57:41": {
        class_type: "Power Lora Loader (rgthree)",
        inputs: {
          lora_1: { on: true, lora: "third.safetensors", strength: 0.5 },
          lora_2: { on: false, lora: "off.safetensors", strength: 1 },
          model: ["57:40", 0],
        },
      },
      "57:40": {
        class_type: "LoraLoader",
        inputs: {
          lora_name: "second.safetensors",
          strength_model: -0.25,
          strength_clip: 1,
          model: ["57:12", 0],
          clip: ["57:30", 0],
        },
      },
    }),
  );
  expect(loras).toEqual([
    { name: "mine.safetensors", strength: 0.8 },
    { name: "second.safetensors", strength: -0.25 },
    { name: "third.safetensors", strength: 0.5 },
  ]);
});

test("LoRAs of stacks, handed from node to node", () => {
  const { loras, unread } = read(
    graphOf({
      "57:11": { class_type: "ModelSamplingAuraFlow", inputs: { shift: 3, model: ["s1", 0] } },
      s1: {
        class_type: "CR Apply LoRA Stack",
        inputs: { model: ["57:12", 0], clip: ["57:30", 0], lora_stack: ["s2", 0] },
      },
      s2: {
        class_type: "CR LoRA Stack",
        inputs: {
          ...{
            switch_1: "On",
            lora_name_1: "b.safetensors",
            model_weight_1: 0.3,
            clip_weight_1: 1,
          },
          ...{ switch_2: "Off", lora_name_2: "off.safetensors", model_weight_2: 1 },
          ...{ switch_3: "On", lora_name_3: "None", model_weight_3: 1, lora_stack: ["s3", 0] },
        },
      },
      s3: {
        class_type: "Lora Loader Stack (rgthree)",
        inputs: { lora_01: "a.safetensors", strength_01: -1, lora_02: "None", strength_02: 1 },
      },
    }),
  );
  expect(unread).toEqual([]);
  expect(loras).toEqual([
    { name: "mine.safetensors", strength: 0.8 },
    { name: "a.safetensors", strength: -1 },
    { name: "b.safetensors", strength: 0.3 },
  ]);
  const manager = read(
    graphOf({
      "57:12": {
        class_type: "Lora Loader (LoraManager)",
        inputs: {
          model: ["57:28", 0],
          text: "<lora:c:0.4>",
          loras: {
            __value__: [
              { name: "c", strength: 0.4, active: true },
              { name: "d", strength: 1, active: false },
            ],
          },
        },
      },
    }),
  );
  expect(manager.loras).toEqual([{ name: "c", strength: 0.4 }]);
});

test("a run in two parts has the first part's seed", () => {
  const { inputs } = graphOf()["57:3"]!;
  const { seed: _, denoise: __, ...rest } = inputs;
  const part = (own: Record<string, JsonValue>) => ({
    class_type: "KSamplerAdvanced",
    inputs: { ...rest, noise_seed: 5, end_at_step: 10000, start_at_step: 0, ...own },
  });
  const settings = read(
    graphOf({
      first: part({ add_noise: "enable", end_at_step: 10, return_with_leftover_noise: "enable" }),
      "57:3": part({
        ...{ add_noise: "disable", noise_seed: 0, start_at_step: 10, latent_image: ["first", 0] },
        return_with_leftover_noise: "disable",
      }),
    }),
  );
  expect(settings).toMatchObject({ seed: 5n, noise: "cpu", steps: 25, window: null, width: 1024 });
});

test("a sampler that takes model and prompts through a pipe is a sampler all the same", () => {
  const settings = read({
    "1": { class_type: "SaveImage", inputs: { images: ["2", 0] } },
    "2": {
      class_type: "ImpactKSamplerBasicPipe",
      inputs: {
        ...{ basic_pipe: ["3", 0], seed: 5, steps: 8, cfg: 1, sampler_name: "euler" },
        ...{ scheduler: "simple", denoise: 1, latent_image: ["4", 0] },
      },
    },
    "3": { class_type: "ToBasicPipe", inputs: {} },
    "4": { class_type: "EmptySD3LatentImage", inputs: { width: 64, height: 64, batch_size: 1 } },
  });
  expect(settings).toMatchObject({ seed: 5n, steps: 8, standardCfg: 1, prompt: null, model: null });
  expect(settings.unread).toEqual([
    "The model is not named.",
    "The positive prompt is linked to nothing that is known.",
  ]);
});

test("without a node for it the shift is the model's own, and SD3's node is named as the error it is", () => {
  const own = read(withInputs(graphOf(), "57:3", { model: ["57:12", 0] }));
  expect(own.shift).toBe(3);
  expect(own.own.shift?.value).toContain("own");
  const wrong = read(
    graphOf({
      "57:11": { class_type: "ModelSamplingSD3", inputs: { shift: 3, model: ["57:12", 0] } },
    }),
  );
  expect(wrong.notes).toEqual([
    expect.stringContaining("ModelSamplingAuraFlow is the node for it"),
  ]);
  const base = {
    class_type: "UNETLoader",
    inputs: { unet_name: "z.gguf", weight_dtype: "fp8_e4m3fn" },
  };
  expect(read(graphOf({ "57:28": base })).notes).toEqual([
    "The model's weights are rounded to fp8_e4m3fn when they are loaded.",
  ]);
});

test("KSamplerAdvanced: a part of its schedule", () => {
  const { inputs } = graphOf()["57:3"]!;
  const settings = read(
    graphOf({
      "57:3": {
        class_type: "KSamplerAdvanced",
        inputs: {
          ...Object.fromEntries(Object.entries(inputs).filter(([name]) => name !== "seed")),
          noise_seed: 18446744073709551615n,
          add_noise: "enable",
          start_at_step: 2,
          end_at_step: 10000,
          return_with_leftover_noise: "disable",
        },
      },
    }),
  );
  expect(settings).toMatchObject({ seed: 2n ** 64n - 1n, steps: 25, window: { from: 2, to: 25 } });
  expect(settings.own.seed).toEqual({ name: "noise_seed", value: "18446744073709551615" });
});

const custom: Nodes = {
  "57:3": {
    class_type: "SamplerCustomAdvanced",
    inputs: {
      noise: ["1", 0],
      guider: ["2", 0],
      sampler: ["3", 0],
      sigmas: ["4", 0],
      latent_image: ["57:13", 0],
    },
  },
  "1": { class_type: "RandomNoise", inputs: { noise_seed: 7 } },
  "2": {
    class_type: "CFGGuider",
    inputs: { model: ["57:11", 0], positive: ["57:27", 0], negative: ["57:33", 0], cfg: 3.5 },
  },
  "3": { class_type: "KSamplerSelect", inputs: { sampler_name: "res_multistep" } },
  "4": {
    class_type: "BasicScheduler",
    inputs: { scheduler: "beta", steps: 9, denoise: 0.5, model: ["57:12", 0] },
  },
};

test("SamplerCustomAdvanced: noise, guider, sampler and noise levels are nodes of their own", () => {
  const settings = read(graphOf(custom));
  expect(settings).toMatchObject({
    seed: 7n,
    standardCfg: 3.5,
    sampler: "res_multistep",
    scheduler: "beta",
    steps: 9,
    denoise: 0.5,
    shift: 3,
  });
  expect(settings.notes).toEqual(["The noise levels and the model have two shifts."]);
  expect(settings.unread).toEqual([]);
});

test("BasicGuider doesn't guide", () => {
  const guider = {
    class_type: "BasicGuider",
    inputs: { model: ["57:11", 0], conditioning: ["57:27", 0] },
  };
  const settings = read(graphOf({ ...custom, "2": guider }));
  expect(settings).toMatchObject({ standardCfg: 1, negative: null, prompt: "a cat" });
});

test("noise levels given one by one, and a part of them", () => {
  const sigmas = { class_type: "ManualSigmas", inputs: { sigmas: "1., 0.9,0.5, 0" } };
  expect(read(graphOf({ ...custom, "4": sigmas }))).toMatchObject({
    givenSigmas: [1, 0.9, 0.5, 0],
    steps: 3,
  });
  const split = { class_type: "SplitSigmas", inputs: { step: 2, sigmas: ["5", 0] } };
  const cut = graphOf({ ...custom, "4": split, "5": sigmas });
  expect(read(cut).window).toEqual({ from: 0, to: 2 });
  expect(read(withInputs(cut, "57:3", { sigmas: ["4", 1] })).window).toEqual({ from: 2, to: 3 });
});

test("a zeroed negative prompt, and a positive one that hides another", () => {
  const settings = read(
    graphOf({
      "57:33": { class_type: "ConditioningZeroOut", inputs: { conditioning: ["57:27", 0] } },
      "57:50": {
        class_type: "ConditioningCombine",
        inputs: { conditioning_1: ["57:27", 0], conditioning_2: ["57:51", 0] },
      },
      "57:51": { class_type: "CLIPTextEncode", inputs: { text: "hidden", clip: ["57:30", 0] } },
      "57:3": {
        ...graphOf()["57:3"]!,
        inputs: { ...graphOf()["57:3"]!.inputs, positive: ["57:50", 0] },
      },
    }),
  );
  expect(settings.negative).toEqual({ kind: "zeros" });
  expect(settings.prompt).toBe("a cat");
  expect(settings.notes).toEqual([
    'The positive prompt is not one text: ConditioningCombine (node 57:50) adds "hidden" to it.',
  ]);
});

test("values that stand in other nodes", () => {
  const nodes = graphOf({
    a: { class_type: "PrimitiveInt", inputs: { value: 77 } },
    b: { class_type: "PrimitiveStringMultiline", inputs: { value: "a \\(big\\) dog" } },
    c: {
      class_type: "StringConcatenate",
      inputs: { string_a: "a", string_b: ["b", 0], delimiter: " " },
    },
    d: { class_type: "Seed Maker", inputs: { seed: 5, name: "x" } },
    e: { class_type: "Random Oracle", inputs: {} },
  });
  expect(read(withInputs(nodes, "57:3", { seed: ["a", 0] })).seed).toBe(77n);
  const joined = read(withInputs(nodes, "57:27", { text: ["c", 0] }));
  expect(joined.prompt).toBe("a a (big) dog");
  expect(joined.own.prompt?.value).toBe("a a \\(big\\) dog");
  const guessed = read(withInputs(nodes, "57:3", { seed: ["d", 0] }));
  expect(guessed.seed).toBe(5n);
  expect(guessed.notes).toEqual(['"seed" is taken from Seed Maker (node d), which is not known.']);
  const unknown = read(withInputs(nodes, "57:3", { seed: ["e", 0] }));
  expect(unknown.seed).toBeNull();
  expect(unknown.unread).toEqual([
    '"seed" of KSampler (node 57:3) is made by nodes that are not known.',
  ]);
});

test("of several samplers the one that saves the picture counts, and what happened after it is said", () => {
  const other = graphOf()["57:3"]!;
  const nodes = graphOf({
    "60": { ...other, inputs: { ...other.inputs, seed: 1, latent_image: ["61", 0] } },
    "61": { class_type: "EmptyLatentImage", inputs: { width: 64, height: 64, batch_size: 4 } },
    "62": { class_type: "VAEDecode", inputs: { samples: ["60", 0], vae: ["57:29", 0] } },
    "63": { class_type: "PreviewImage", inputs: { images: ["62", 0] } },
  });
  expect(read(nodes)).toMatchObject({ seed: 42n, notes: [] });
  const saved = { ...nodes, "63": { class_type: "SaveImage", inputs: { images: ["62", 0] } } };
  expect(read(saved)).toMatchObject({
    seed: 42n,
    notes: [expect.stringContaining("saves pictures of 2 samplers")],
  });
  const scaled = graphOf({
    "9": { class_type: "SaveImage", inputs: { images: ["70", 0] } },
    "70": { class_type: "ImageScaleBy", inputs: { image: ["57:8", 0], scale_by: 2 } },
  });
  expect(read(scaled).notes).toEqual([
    "After it was drawn, ImageScaleBy (node 70) changed the picture.",
  ]);
  const twice = withInputs(nodes, "57:3", { latent_image: ["60", 0] });
  expect(read(twice)).toMatchObject({
    width: 64,
    notes: [
      "KSampler (node 60) had drawn before: the picture has two passes.",
      expect.stringContaining("4 pictures were drawn as one batch"),
    ],
  });
});

test("links that form a loop are an end", () => {
  const loop = (id: string, inputs: Record<string, JsonValue>) =>
    read(withInputs(graphOf(), id, inputs));
  expect(loop("57:12", { model: ["57:11", 0] }).unread).toContainEqual(
    expect.stringContaining("form a loop"),
  );
  expect(loop("57:3", { latent_image: ["57:3", 0] }).width).toBeNull();
  expect(loop("57:27", { text: ["57:27", 0] }).prompt).toBeNull();
});

test("a graph without a sampler", () => {
  expect(read({ "1": { class_type: "SaveImage", inputs: { images: ["2", 0] } } }).unread).toEqual([
    "No node of the graph draws a picture.",
  ]);
});
