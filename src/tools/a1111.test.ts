import { expect, test } from "vitest";
import { readInfotext } from "./a1111.ts";
import { parseInfotext, takeLoraTags } from "./infotext.ts";

function read(text: string) {
  const infotext = parseInfotext(text);
  if (infotext === undefined) throw new Error("no infotext");
  return readInfotext(infotext);
}

const forgeNeo = `a cat, in a hat
by the sea <lora:mine:0.8>
Negative prompt: dog,
blurred
Steps: 9, Sampler: Euler, Schedule type: Beta, CFG scale: 1, Shift: 9.0, Seed: 965400086, Size: 1024x768, Model hash: 45dee52b, Model: z_image_turbo_bf16, RNG: CPU, Lora hashes: "mine: 0123abcd, other: 4567ef01", Version: neo, Module 1: ae, Module 2: qwen_3_4b`;

test("Forge Neo", () => {
  const settings = read(forgeNeo);
  expect(settings).toMatchObject({
    tool: "forge-neo",
    version: "neo",
    prompt: "a cat, in a hat\nby the sea ",
    negative: { kind: "text", text: "dog,\nblurred" },
    standardCfg: 1,
    steps: 9,
    sampler: "Euler",
    scheduler: "Beta",
    shift: 9,
    seed: 965400086n,
    noise: "cpu",
    width: 1024,
    height: 768,
    loras: [{ name: "mine", strength: 0.8 }],
    model: "z_image_turbo_bf16",
    vae: "ae",
    textEncoder: "qwen_3_4b",
    unread: [],
  });
  expect(settings.others).toEqual([
    { name: "Model hash", value: "45dee52b" },
    { name: "Lora hashes", value: "mine: 0123abcd, other: 4567ef01" },
  ]);
});

test("AUTOMATIC1111: no RNG is the GPU's, and no negative prompt an empty one", () => {
  const settings = read(
    "a cat\nSteps: 20, Sampler: Euler, Schedule type: Simple, CFG scale: 7, Seed: 1, Size: 512x512, Version: v1.10.1",
  );
  expect(settings).toMatchObject({
    tool: "a1111",
    noise: "cuda-philox",
    standardCfg: 7,
    negative: { kind: "text", text: "" },
    shift: null,
  });
  const nv = read(
    "x\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, RNG: NV, Version: f2.0.1v1.10.1",
  );
  expect(nv).toMatchObject({ tool: "forge", noise: "nv-philox" });
});

test("SD.Next: what stood before styles were put in is left out, a LoRA without strength is listed", () => {
  const settings = read(
    "a red cat <lora:tagged:0.7>\nNegative prompt: \nTemplate: a __color__ cat\nNegative template: x\n" +
      'Steps: 25, Seed: 3, CFG scale: 3, App: SD.Next, LoRA networks: "tagged, other", Sampler shift: 5',
  );
  expect(settings).toMatchObject({
    prompt: "a red cat ",
    negative: { kind: "text", text: "" },
    shift: 5,
    loras: [{ name: "tagged", strength: 0.7 }],
    unread: ["How strong the LoRA other was is not written."],
  });
});

test("SD.Next hands its CFG scale to diffusers: it counts one less", () => {
  const settings = read(
    "a cat\nNegative prompt: dog\nSteps: 25, Size: 1024x1024, Sampler: Euler FlowMatch, Scheduler: FlowMatchEulerDiscreteScheduler, " +
      "Seed: 3, CFG scale: 3, App: SD.Next, Version: 058a7f0, Pipeline: ZImagePipeline, Operations: txt2img, Model: Z-Image",
  );
  expect(settings).toMatchObject({
    tool: "sdnext",
    standardCfg: 4,
    cfgOwn: { name: "CFG scale", value: 3 },
    sampler: "Euler FlowMatch",
    noise: "unknown",
  });
  const plain = read("a cat\nSteps: 25, Seed: 3, CFG scale: 3, App: SD.Next");
  expect(plain.sampler).toBe("Default");
  expect(settings.shift).toBe(3);
  // Without a sampler of one's own the repository's schedule stays, which is another for the base model.
  const shiftWith = (model: string) =>
    read(`a cat\nSteps: 25, Seed: 3, CFG scale: 3, App: SD.Next, Model: ${model}`).shift;
  expect([shiftWith("Z-Image"), shiftWith("Z-Image-Turbo")]).toEqual([6, 3]);
});

test("stable-diffusion.cpp: sampler and scheduler are joined, JSON stands behind", () => {
  const settings = read(
    "a (cat) <lora:mine:0.5>\nNegative prompt: dog\nSteps: 8, CFG scale: 1.000000, Guidance: 3.500000, Eta: 0.000000, Seed: 42, " +
      "Size: 512x768, Model: , RNG: cuda, Sampler: euler simple, TE: Qwen3-4B-Q8_0.gguf, Unet: z_image_turbo-Q8_0.gguf, " +
      'VAE: ae.safetensors, Version: stable-diffusion.cpp, SDCPP: {"loras": [{"name": "mine", "multiplier": 0.5}], "x": "a, b: c", "sampling": {"flow_shift": 2.5}}',
  );
  expect(settings).toMatchObject({
    tool: "sd.cpp",
    sampler: "euler",
    scheduler: "simple",
    standardCfg: 1,
    noise: "nv-philox",
    model: "z_image_turbo-Q8_0.gguf",
    textEncoder: "Qwen3-4B-Q8_0.gguf",
    shift: 2.5,
    loras: [{ name: "mine", strength: 0.5 }],
  });
  expect(settings.notes).toEqual([expect.stringContaining("parentheses")]);
  const custom = read(
    "x\nSteps: 2, CFG scale: 1.0, Seed: 42, RNG: cpu, Sampler: euler, Custom Sigmas: [1.0000, 0.5000, 0.0000], Version: stable-diffusion.cpp",
  );
  expect(custom).toMatchObject({ givenSigmas: [1, 0.5, 0], noise: "cpu", scheduler: null });
});

test("values that hold commas and line ends are JSON strings", () => {
  const { parameters } = parseInfotext(
    'x\nSteps: 1, Seed: 2, Size: 8x8, Styles: "a, \\"b\\": c\\nd", Tiling, Version: v1',
  )!;
  expect(parameters.get("Styles")).toBe('a, "b": c\nd');
  expect(parameters.get("Version")).toBe("v1");
});

test("what is no number is listed", () => {
  const settings = read("x\nSteps: many, Seed: 2, CFG scale: 3, Size: 8x8");
  expect(settings.steps).toBeNull();
  expect(settings.unread).toEqual(['"Steps" is no number: many.']);
});

test("a seed and a size that can't be read are listed too", () => {
  const settings = read("x\nSteps: 2, Seed: -1, CFG scale: 3, Size: wide");
  expect(settings).toMatchObject({ seed: null, width: null });
  expect(settings.unread).toEqual(['"Size" can\'t be read: wide.', '"Seed" can\'t be read: -1.']);
});

test("of an enlarged picture the denoising strength is the second pass's", () => {
  const enlarged = read(
    "x\nSteps: 2, Seed: 1, CFG scale: 3, Size: 64x64, Denoising strength: 0.7, Hires upscale: 2",
  );
  expect(enlarged.denoise).toBeNull();
  expect(enlarged.notes).toEqual([expect.stringContaining("hires fix")]);
  expect(enlarged.others).toContainEqual({ name: "Denoising strength", value: "0.7" });
  expect(read("x\nSteps: 2, Seed: 1, CFG scale: 3, Denoising strength: 0.7").denoise).toBe(0.7);
});

test("a text without parameters is none", () => {
  expect(parseInfotext("a cat: one, two: three")).toBeUndefined();
  expect(parseInfotext("")).toBeUndefined();
});

test.each([
  ["<lora:a>", 1],
  ["<lora:a:0.5>", 0.5],
  ["<lora:a:0.5:0.7>", 0.7],
  ["<lora:a:0.5:unet=0.9>", 0.9],
  ["<lora:a:te=0.1>", 0.1],
])("the strength of %s is %d", (tag, strength) => {
  expect(takeLoraTags(`x ${tag} y`)).toEqual({ prompt: "x  y", loras: [{ name: "a", strength }] });
});

test("a line of open brackets is read too: none is followed to the line's end", () => {
  const line = "Steps: 1, Seed: 2, Size: 8x8, ".padEnd(2 ** 16, "a:[,");
  expect(parseInfotext(`x\n${line}`)?.parameters.get("Seed")).toBe("2");
});
