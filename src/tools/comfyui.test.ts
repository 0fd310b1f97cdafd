import { expect, test } from "vitest";
import { graphOf, read, withInputs } from "../../test/comfy-graphs.ts";
import type { JsonValue } from "../wire/python-json.ts";

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
