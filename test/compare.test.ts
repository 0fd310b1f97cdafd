import { mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { encodeImage } from "../src/image/encode-image.ts";
import type { Meaning } from "../src/pipeline/meaning.ts";
import type { PictureComparison } from "../src/preview/compare-pictures.ts";
import { comparePictures } from "../src/preview/compare-pictures.ts";
import { readComparedPicture } from "../src/preview/compared-picture.ts";
import { readJobFolder } from "../src/preview/job-folder.ts";
import { planRetakes } from "../src/preview/plan.ts";
import { openRenderer } from "../src/preview/renderer.ts";
import type { Shot } from "../src/preview/shot.ts";
import { resolvedShot } from "../src/preview/shot.ts";
import { toolSigmas } from "../src/tools/schedules.ts";
import { textChunk, withChunks } from "./picture-texts.ts";
import { copyJob, editConfig } from "./planted-job.ts";
import { startRetake } from "./retake-process.ts";

// Pictures of other tools are made here: drawn with what the tool means, and given the metadata
// that it writes.

const folder = mkdtempSync(join(tmpdir(), "compare-"));
const job = join(import.meta.dirname, "jobs", "folders", "mix");
/** Step 8, sample 0: guidance_scale 3 of ai-toolkit 0.12.26, so a standard cfg of 3; 5 updates. */
const preview = join(
  job,
  "samples",
  readdirSync(join(job, "samples")).find((name) => name.includes("__000000008_0"))!,
);

const renderer = openRenderer({
  weights: "demo",
  device: "cpu",
  storage: "auto",
  cacheFolder: folder,
  transformers: {},
});
afterAll(() => renderer[Symbol.asyncDispose]());

const draw = async ({ model, rounding, request, meaning = {} }: Shot) =>
  (await renderer.render(model, rounding, request, { meaning })).image;

async function previewShot(): Promise<Shot> {
  const [sample] = planRetakes(await readJobFolder(preview)).samples;
  const { model, rounding, request } = sample!;
  return { model, rounding, request: request! };
}

/** Draws the preview's shot with another meaning, and writes it with a tool's text. */
async function toolPicture(
  name: string,
  meaning: Meaning,
  text: (shot: Shot) => readonly [string, string] | null,
): Promise<string> {
  const shot = await previewShot();
  const png = await encodeImage(await draw({ ...shot, meaning }), "png", {});
  // The chunk with our own parameters goes: others' pictures don't have it.
  const end = 33 + 12 + Buffer.from(png).readUInt32BE(33);
  const plain = Buffer.concat([png.subarray(0, 33), png.subarray(end)]);
  const chunk = text(shot);
  const path = join(folder, `${name}.png`);
  writeFileSync(path, chunk === null ? plain : withChunks(plain, textChunk(...chunk)));
  return path;
}

const simple = (shift = 3, steps = 5) => [...toolSigmas({ schedule: "simple", steps, shift })];

interface KSampler {
  readonly cfg?: number;
  readonly steps?: number;
  readonly shift?: number;
  readonly sampler?: string;
  readonly width?: number;
  readonly height?: number;
}

function comfyGraph({ cfg = 3, steps = 5, shift = 3, sampler = "euler", ...size }: KSampler) {
  return (shot: Shot): readonly [string, string] => {
    const { parsed, effective } = resolvedShot(shot);
    const { width = effective.width, height = effective.height } = size;
    const node = (class_type: string, inputs: object) => ({ class_type, inputs });
    const graph = {
      1: node("UNETLoader", { unet_name: "z_image_bf16.safetensors", weight_dtype: "default" }),
      2: node("CLIPLoader", { clip_name: "qwen_3_4b.safetensors", type: "lumina2" }),
      3: node("VAELoader", { vae_name: "ae.safetensors" }),
      4: node("LoraLoaderModelOnly", {
        lora_name: "mix.safetensors",
        strength_model: parsed.loras[0]!.multiplier,
        model: ["1", 0],
      }),
      5: node("ModelSamplingAuraFlow", { shift, model: ["4", 0] }),
      6: node("CLIPTextEncode", { text: parsed.prompt, clip: ["2", 0] }),
      7: node("CLIPTextEncode", { text: "", clip: ["2", 0] }),
      8: node("EmptySD3LatentImage", {
        width,
        height,
        batch_size: 1,
      }),
      9: node("KSampler", {
        seed: Number(parsed.seed),
        steps,
        cfg,
        sampler_name: sampler,
        scheduler: "simple",
        denoise: 1,
        model: ["5", 0],
        positive: ["6", 0],
        negative: ["7", 0],
        latent_image: ["8", 0],
      }),
      10: node("VAEDecode", { samples: ["9", 0], vae: ["3", 0] }),
      11: node("SaveImage", { filename_prefix: "ComfyUI", images: ["10", 0] }),
    };
    return ["prompt", JSON.stringify(graph)];
  };
}

/** As Forge Neo writes it; without RNG it drew on the GPU. */
function infotext(shot: Shot): readonly [string, string] {
  const { parsed, effective } = resolvedShot(shot);
  const lora = `<lora:mix:${parsed.loras[0]!.multiplier}>`;
  const text =
    `${parsed.prompt} ${lora}\nSteps: 5, Sampler: Euler, Schedule type: Simple, CFG scale: 3, Shift: 3, ` +
    `Seed: ${parsed.seed}, Size: ${effective.width}x${effective.height}, Model: z_image_bf16, Version: neo`;
  return ["parameters", text];
}

async function compared(other: string): Promise<PictureComparison> {
  return comparePictures(
    await readComparedPicture(preview, []),
    await readComparedPicture(other, []),
    { draw, deadline: performance.now() + 300_000 },
  );
}

const nothing = () => null;

test.each([
  ["guidance", "ComfyUI's cfg", { guidanceWeight: 3, sigmas: simple() }, comfyGraph({ cfg: 4 })],
  ["shift", "AuraFlow's shift", { sigmas: simple(1.73) }, comfyGraph({ shift: 1.73 })],
  [
    "sampler",
    "the official template's sampler",
    { sampler: "res_multistep", sigmas: simple() },
    comfyGraph({ sampler: "res_multistep" }),
  ],
  ["steps", "one update less", { sigmas: simple(3, 4) }, comfyGraph({ steps: 4 })],
  ["noise", "Forge Neo's GPU", { noise: { generator: "philox" }, sigmas: simple() }, infotext],
  ["guidance", "a script's w, which nobody wrote", { guidanceWeight: 3 }, nothing],
  ["negative", "zeros, which nobody wrote", { negative: "zeros" }, nothing],
] as const)("%s is named first: %s", async (setting, name, meaning, text) => {
  const other = await toolPicture(name, meaning, text);
  const { explanation, differences } = await compared(other);
  expect(explanation).toMatchObject({ drawn: "first", explained: true });
  expect(explanation!.steps[0]).toMatchObject({ setting, written: text !== nothing });
  if (text !== nothing) expect(differences.map((one) => one.setting)).toEqual([setting]);
});

test("the same picture needs no explanation, and another one has none", async () => {
  const same = await compared(await toolPicture("same", { sigmas: simple() }, comfyGraph({})));
  expect(same.differences).toEqual([]);
  expect(same.explanation).toMatchObject({ explained: true, steps: [], tried: 1 });

  const noise = { generator: "philox", threads: 7 } as const;
  const odd = await compared(await toolPicture("odd", { noise }, nothing));
  expect(odd.explanation).toMatchObject({ explained: false, steps: [] });
});

test.each([
  ["steps", { steps: 1e9 }],
  ["steps", { steps: -3 }],
  ["steps", { steps: 2.5 }],
  ["shift", { shift: 0 }],
  ["size", { width: 2e6, height: 2e6 }],
])("a picture that says %s %j costs no time and no memory", async (_, said) => {
  const other = await toolPicture("hostile", { sigmas: simple() }, comfyGraph(said));
  const { explanation } = await compared(other);
  expect(explanation!.explained).toBe(true);
});

test("a preview of another kind of model is compared, and its own settings are not", async () => {
  const root = copyJob("mix");
  editConfig(root, "arch: zimage", "arch: flux");
  const path = join(root, "samples", basename(preview));
  const { pixels, explanation, notes } = await comparePictures(
    await readComparedPicture(path, []),
    await readComparedPicture(preview, []),
    { draw: null, deadline: 0 },
  );
  expect(pixels).toMatchObject({ psnr: 100, maxDifference: 0 });
  expect(explanation).toBeNull();
  expect(notes.join()).toMatch(/can't be taken again: .*flux/);
});

/** The command line's answer. */
async function retake(
  ...args: string[]
): Promise<{ stdout: string; stderr: string; code: number | null }> {
  return startRetake(args, { cwd: folder }).ended;
}

test("the command line says it in both tools' words, as JSON too", async () => {
  const meaning = { guidanceWeight: 3, sigmas: simple() };
  const other = await toolPicture("cli", meaning, comfyGraph({ cfg: 4 }));
  const text = await retake("compare", preview, other, "--weights", "demo");
  expect(text).toMatchObject({ code: 0, stderr: "" });
  expect(text.stdout).toContain("guidance   first:  guidance_scale 3 (preview-0.10.25)");
  expect(text.stdout).toContain("second: cfg 4");
  expect(text.stdout).toContain("That explains it.");
  const json = JSON.parse((await retake("compare", other, preview, "--json")).stdout);
  expect(json.causes[0]).toMatchObject({ factor: "guidance", written: true });
  expect(json).toMatchObject({ drawn: "second", explained: true, first: { made: "comfyui" } });
  expect(json.differences).toMatchObject([
    { setting: "guidance", first: expect.stringMatching(/^cfg 4/) },
  ]);
  const written = JSON.parse(
    (await retake("compare", preview, other, "--no-draw", "--json")).stdout,
  );
  expect(written).toMatchObject({ explained: null, causes: [], tried: 0 });
  expect(written.differences).toHaveLength(1);
});

test("two pictures of Retake, and their traces: the first stage that differs", async () => {
  const make = (name: string, ...rest: string[]) =>
    retake(
      ...[
        "generate",
        "--prompt",
        "a red circle",
        "--width",
        "64",
        "--height",
        "64",
        "--steps",
        "3",
      ],
      ...["--out", `${name}.png`, "--trace", `${name}.safetensors`, ...rest],
    );
  await make("a", "--guidance", "3");
  await make("b", "--guidance", "4");
  await make("c", "--guidance", "3", "--seed", "43");
  const pictures = JSON.parse((await retake("compare", "a.png", "b.png", "--json")).stdout);
  expect(pictures.differences.map(({ setting }: { setting: string }) => setting)).toEqual([
    "guidance",
  ]);
  expect(pictures.causes[0]).toMatchObject({ factor: "guidance" });

  const same = await retake("compare", "a.safetensors", "a.safetensors");
  expect(same.stdout).toContain("No stage differs.");
  const guided = JSON.parse(
    (await retake("compare", "a.safetensors", "b.safetensors", "--json")).stdout,
  );
  expect(guided.first).toBe("noise_pred.0");
  const seeded = await retake("compare", "a.safetensors", "c.safetensors");
  expect(seeded.stdout).toMatch(/^> noise /m);
  expect(seeded.stdout).toContain("The first stage that differs is noise.");
});

test.each([
  [["mix.safetensors", preview], /is a trace and the other file is not/],
  [["nothing.png", preview], /nothing\.png can't be opened/],
  [[join(job, "config.yaml"), preview], /not a picture that can be read/],
  [[join(job, "mix.safetensors"), join(job, "mix.safetensors")], /is no trace/],
])("what can't be compared is named: %j", async (files, message) => {
  const { code, stderr } = await retake("compare", ...files);
  expect(code).toBe(2);
  expect(stderr).toMatch(message);
});
