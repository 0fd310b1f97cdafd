import { expect, test } from "vitest";
import { differencesOf, samplerIn, unsaidIn } from "./differences.ts";
import { sigmasIn } from "./schedule-in.ts";
import type { ToolSettings } from "./settings.ts";
import { unknownSettings } from "./settings.ts";

/** A preview of ai-toolkit 0.12.26 with 8 steps. */
const preview: ToolSettings = {
  ...unknownSettings("retake"),
  prompt: "a cat",
  negative: { kind: "text", text: "" },
  standardCfg: 3,
  steps: 8,
  sampler: "euler",
  scheduler: "linear",
  shift: 3,
  seed: 42n,
  noise: "cpu",
  width: 1024,
  height: 1024,
  loras: [{ name: "mine.safetensors", strength: 1 }],
  model: "zimage",
};

/** The same as ComfyUI has it. */
const comfy: ToolSettings = {
  ...preview,
  tool: "comfyui",
  scheduler: "simple",
  denoise: 1,
  loras: [{ name: "styles\\Mine.safetensors", strength: 1 }],
  model: "z_image_bf16.safetensors",
};

const settingsThatDiffer = (change: Partial<ToolSettings>) =>
  differencesOf(preview, { ...comfy, ...change }).map(({ setting }) => setting);

test.each<[Partial<ToolSettings>, string[]]>([
  [{}, []],
  [{ scheduler: "normal", steps: 9 }, ["scheduler", "steps"]],
  // Lists that are next to the same are one.
  [{ tool: "sd.cpp", scheduler: null, steps: 9 }, []],
  [{ noise: "bf16-cpu" }, ["noise"]],
  [{ steps: 9 }, ["steps"]],
  [{ scheduler: "beta" }, ["scheduler"]],
  [{ shift: 1.73 }, ["shift"]],
  [
    { tool: "invokeai", scheduler: null, shift: "auto", width: 512, height: 512 },
    ["size", "shift"],
  ],
  [{ denoise: 0.5 }, ["denoise"]],
  [{ window: { from: 2, to: 8 } }, ["denoise"]],
  [{ scheduler: "ManualSigmas", givenSigmas: [1, 0.5, 0] }, ["scheduler"]],
  [{ standardCfg: 4, seed: 43n }, ["seed", "guidance"]],
  [{ negative: { kind: "zeros" } }, ["negative"]],
  [{ sampler: "ddim" }, []],
  [{ sampler: "res_multistep" }, ["sampler"]],
  [{ model: "z_image_turbo_bf16.safetensors" }, ["model"]],
  // A name that says nothing is no difference.
  [{ model: "my-merge.safetensors" }, []],
  [{ loras: [] }, ["loras"]],
  [{ loras: [{ name: "mine", strength: 0.8 }] }, ["loras"]],
  [{ loras: [...comfy.loras, { name: "other", strength: 0 }] }, []],
  [{ prompt: null, seed: null, standardCfg: null, steps: null }, []],
])("%o: %j", (change, settings) => {
  expect(settingsThatDiffer(change)).toEqual(settings);
});

test("a negative prompt counts where one of the two is guided", () => {
  const unguided = { ...preview, standardCfg: 1 };
  const zeros = { ...comfy, standardCfg: 1, negative: { kind: "zeros" } as const };
  expect(differencesOf(unguided, zeros)).toEqual([]);
});

test("both sides stand in their own words", () => {
  const first = { ...preview, own: { guidance: { name: "guidance_scale", value: "3" } } };
  const second = {
    ...comfy,
    tool: "sdnext" as const,
    standardCfg: 4,
    cfgOwn: { name: "CFG scale", value: 3 },
    own: { guidance: { name: "CFG scale", value: "3" } },
  };
  expect(differencesOf(first, second)).toEqual([
    {
      setting: "guidance",
      first: "guidance_scale 3, which is a standard cfg of 3",
      second: "CFG scale 3, which is a standard cfg of 4",
    },
  ]);
});

test("what is not written, or in words that say nothing here, is named", () => {
  const settings = { ...comfy, seed: null, noise: "unknown" as const, scheduler: "bong_tangent" };
  expect(unsaidIn(settings)).toEqual(["seed", "noise", "scheduler"]);
});

test.each([
  ["Euler", "euler"],
  ["DPM++ 2M", "dpmpp_2m"],
  ["dpmpp_2m", "dpmpp_2m"],
  ["Heun", "heun"],
  ["Euler a", null],
  ["euler_ancestral", null],
])("the sampler %s is %s", (sampler, known) => {
  expect(samplerIn({ ...comfy, sampler })).toBe(known);
});

test.each<[Partial<ToolSettings>, RegExp]>([
  [{ steps: 1e9 }, /steps can't be drawn/],
  [{ steps: 0.5 }, /steps can't be drawn/],
  [{ denoise: 1e-9 }, /denoising strength/],
  [{ denoise: 2 }, /denoising strength/],
  [{ shift: -1 }, /shift is -1/],
  [{ scheduler: "constructor" }, /none that is computed/],
  [{ scheduler: "x", givenSigmas: [1, Number.NaN, 0] }, /no falling list/],
  [{ scheduler: "x", givenSigmas: [1, 1, 0.5, 0.7, 0] }, /no falling list/],
  [{ window: { from: 8, to: 8 } }, /no falling list/],
])("a schedule of %j is refused", (change, message) => {
  expect(sigmasIn({ ...comfy, ...change })).toMatchObject({
    unknown: expect.stringMatching(message),
  });
});
