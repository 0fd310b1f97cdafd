import { expect, test } from "vitest";
import type { Nodes } from "../../test/comfy-graphs.ts";
import { graphOf, read, withInputs } from "../../test/comfy-graphs.ts";
import type { JsonValue } from "../wire/python-json.ts";

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
