import { expect, test } from "vitest";
import { blankPng, textChunk, withChunks } from "../../test/picture-texts.ts";
import { InputError } from "../errors.ts";
import { readPicture } from "./picture.ts";

// Texts in pictures that somebody wrote to break who reads them.

const read = async (name: string, text: string) =>
  (await readPicture(withChunks(await blankPng(), textChunk(name, text)))).settings;

/** `String` and `Number` of it throw. */
const tricky = '{"toString":1,"valueOf":2}';

const sampler = {
  class_type: "KSampler",
  inputs: {
    ...{ seed: 1, steps: 2, cfg: 1, sampler_name: "euler", scheduler: "simple", denoise: 1 },
    ...{ model: ["m", 0], positive: ["p", 0], negative: ["p", 0], latent_image: ["l", 0] },
  },
};
const nodes = {
  s: { class_type: "SaveImage", inputs: { images: ["k", 0] } },
  k: sampler,
  m: { class_type: "UNETLoader", inputs: { unet_name: "z_image.safetensors" } },
  p: { class_type: "CLIPTextEncode", inputs: { text: "x" } },
  l: { class_type: "EmptySD3LatentImage", inputs: { width: 64, height: 64 } },
};

test.each([
  ["parameters", `{"sui_image_params":{"prompt":"x","seed":${tricky},"loras":[${tricky}]}}`],
  ["parameters", `{"sui_image_params":{"loras":["a"],"loraweights":[${tricky}]}}`],
  ["Comment", `{"mflux_version":"1","lora_paths":[${tricky}],"lora_scales":[${tricky}]}`],
  ["Comment", `{"c":"x","seed_mode":"constructor","seed":${tricky},"lora":[${tricky}]}`],
  ["invokeai_metadata", `{"z_image_shift":${tricky},"seed":${tricky}}`],
  ["retake", `{"software":"retake 1","sigmas":[${tricky}],"loras":[${tricky}]}`],
  [
    "parameters",
    `a\nSteps: 3, Seed: 1, Size: 8x8, Version: stable-diffusion.cpp, SDCPP: ${tricky}`,
  ],
  [
    "prompt",
    `{"1":{"class_type":"SaveImage","inputs":{"images":["2",${tricky}]}},"2":{"class_type":"V"}}`,
  ],
  [
    "prompt",
    JSON.stringify({
      ...nodes,
      m: { class_type: "Power Lora", inputs: { a: { lora: "a", strength: JSON.parse(tricky) } } },
    }),
  ],
  [
    "workflow",
    `{"nodes":[{"id":${tricky},"type":${tricky}}],"links":[[${tricky},${tricky}]],"definitions":{"subgraphs":[{"id":${tricky}}]}}`,
  ],
])("an object that is no text is none: %s %s", async (name, text) => {
  const settings = await read(name, text);
  const told = JSON.stringify(settings, (_, value) =>
    typeof value === "bigint" ? `${value}` : value,
  );
  expect(told).not.toContain("[object");
});

test("an object that claims to be Retake's is another program's", async () => {
  await expect(read("retake", `{"software":${tricky},"x":"retake "}`)).rejects.toThrow(
    /no tool that is known/,
  );
});

test.each(["constructor", "toString", "__proto__"])(
  "a node of the class %s is one that is not known",
  async (type) => {
    const other = { class_type: type, inputs: { conditioning: ["p", 0], steps: 3 } };
    const k = { ...sampler, inputs: { ...sampler.inputs, positive: ["q", 0] } };
    const prompt = await read("prompt", JSON.stringify({ ...nodes, k, q: other }));
    expect(prompt).toMatchObject({
      prompt: "x",
      notes: [`${type} (node q) changes the positive prompt.`],
    });
    const custom = {
      class_type: "SamplerCustom",
      inputs: { ...sampler.inputs, sigmas: ["q", 0], sampler: ["q", 0] },
    };
    const schedule = await read("prompt", JSON.stringify({ ...nodes, k: custom, q: other }));
    expect(schedule).toMatchObject({ scheduler: type, sampler: type, steps: 3 });
  },
);

const many = <Item>(count: number, item: (i: number) => Item) =>
  Array.from({ length: count }, (_, i) => item(i));

test("a graph of more inputs than anybody links is refused", async () => {
  const inputs = Object.fromEntries(many(30_000, (i) => [`i${i}`, ["m", 0]]));
  const graph = JSON.stringify({ ...nodes, w: { class_type: "Wide", inputs } });
  await expect(read("prompt", graph)).rejects.toThrow(InputError);
  const workflow = { nodes: [{ id: 1, type: "W", inputs: many(30_000, () => ({})) }] };
  await expect(read("workflow", JSON.stringify(workflow))).rejects.toThrow(/inputs, outputs/);
});

test("links in a workflow that all run through one loop are followed once", async () => {
  // Each would go around it as often as a link may go, past thousands of inputs.
  const around = many(6000, () => ({ type: "A", link: null }));
  const workflow = {
    nodes: [
      {
        id: 1,
        type: "B",
        mode: 4,
        inputs: [...around, { type: "A", link: 1 }],
        outputs: [{ type: "A" }],
      },
      { id: 2, type: "KSampler", inputs: many(6000, (i) => ({ name: `n${i}`, link: 1 })) },
    ],
    links: [[1, 1, 0, 1, 6000]],
  };
  expect(await read("workflow", JSON.stringify(workflow))).toMatchObject({ seed: null });
});

test("a subgraph that is used a thousand times is read once", async () => {
  const links = many(100_000, (id) => ({
    id,
    origin_id: 7,
    origin_slot: 0,
    target_id: 5,
    target_slot: 0,
  }));
  const inside = { id: "sub", nodes: [{ id: 5, type: "D" }], links };
  const workflow = {
    nodes: many(1000, (id) => ({ id, type: "sub" })),
    definitions: { subgraphs: [inside] },
  };
  expect(await read("workflow", JSON.stringify(workflow))).toMatchObject({ tool: "comfyui" });
});
