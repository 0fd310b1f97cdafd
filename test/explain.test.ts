import { copyFileSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { demoWeights } from "../src/paths.ts";
import { blankPng, textChunk, withChunks } from "./picture-texts.ts";
import { startRetake } from "./retake-process.ts";

const zorple = join(demoWeights, "../loras/zorple.safetensors");
const demoJob = join(demoWeights, "../job");
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-explain-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const retake = (...args: string[]) =>
  startRetake(args, { cwd: folder, env: { RETAKE_WEIGHTS: "demo" } }).ended;

test("explain says everything effective about flags, without drawing", async () => {
  const { code, stdout, stderr } = await retake(
    ...["explain", "--model", "zimage", "--prompt", `a [trigger] ${"fox ".repeat(600)}`],
    ...["--neg", "dog", "--width", "250", "--height", "100", "--steps", "8", "--guidance", "4"],
    ...["--lora", `${zorple}=0.8`, "--seed", "18446744073709551615", "--json"],
  );
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const told = JSON.parse(stdout);
  expect(told).toMatchObject({
    source: "flags",
    model: "zimage",
    profile: { name: "preview-0.10.25", asked: "preview" },
    size: { asked: [250, 100], width: 240, height: 96, divisor: 16 },
    steps: { asked: 8, updates: 8, schedule: "head", shift: 3 },
    guidance: { scale: 4, weight: 3, standard_cfg: 4 },
    prompt: { tokens: 512 },
    negative_prompt: { text: "dog" },
    negative_counts: true,
    seed: "18446744073709551615",
    noise: "torch's CPU generator, float32, [1, 16, 12, 30]",
    as_trained: null,
  });
  expect(told.steps.sigmas.map((sigma: number) => Number(sigma.toFixed(4)))).toEqual([
    1, 0.9545, 0.9, 0.8333, 0.75, 0.6429, 0.5, 0.3, 0,
  ]);
  expect(told.guidance.meanings).toEqual(
    expect.arrayContaining([
      { where: "ComfyUI", name: "cfg", value: 4 },
      { where: "diffusers", name: "guidance_scale", value: 3 },
      { where: "profile reference", name: "guidance_scale", value: 3 },
      { where: "profile preview-0.10.21", name: "guidance_scale", value: 4 },
    ]),
  );
  expect(told.loras).toEqual([
    expect.objectContaining({ network_multiplier: 0.8, modules: 32, of: 90, problem: null }),
  ]);
  expect(
    told.weights.map(({ name, state }: { name: string; state: string }) => [name, state]),
  ).toEqual([
    ["text_encoder", "there"],
    ["transformer", "there"],
    ["vae", "there"],
  ]);
  expect(told.warnings).toEqual([
    expect.stringContaining("[trigger], and there is no trigger word"),
    expect.stringMatching(/none of the trigger words of .*zorple\.safetensors: zorple\./),
    expect.stringContaining("longer than 512 tokens"),
  ]);
});

const infotext =
  "a cat\u001b[31m <lora:zorple:0.5>\nSteps: 2, Sampler: Euler, Schedule type: Simple, CFG scale: 4, Shift: 3, " +
  "Seed: 7, Size: 64x64, RNG: CPU, Model: z_image_turbo, Version: neo";

async function writePicture(name: string): Promise<string> {
  const file = join(folder, name);
  writeFileSync(file, withChunks(await blankPng(), textChunk("parameters", infotext)));
  return file;
}

test("explain of a picture in text: no control character of the file reaches the terminal", async () => {
  const { code, stdout } = await retake("explain", await writePicture("forge.png"));
  expect(code).toBe(0);
  expect(stdout).not.toContain("\u001b");
  expect(stdout).toMatch(/^from\s+a picture of Forge Neo$/m);
  expect(stdout).toMatch(/^ +CFG scale +4$/m);
  expect(stdout).toMatch(/^guidance\s+4: weight 3, standard CFG 4$/m);
  expect(stdout).toMatch(/^lora\s+zorple at 0\.5: not looked at$/m);
  expect(stdout).toMatch(
    /warning: The LoRA zorple: it is neither beside .* Give it as --lora FILE/,
  );
});

test("generate --from draws what a picture states; flags stand on top of it", async () => {
  const picture = await writePicture("from.png");
  const missing = await retake("generate", "--from", picture);
  expect(missing.code).toBe(2);
  expect(missing.stderr).toContain("Give it as --lora FILE.");
  // Beside the picture it is found by its name.
  copyFileSync(zorple, join(folder, "zorple.safetensors"));
  const { code, stdout, stderr } = await retake(
    ...["generate", "--from", picture, "--prompt", "zorple", "--steps", "1", "--json"],
  );
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const drawn = JSON.parse(stdout);
  expect(drawn).toMatchObject({
    model: "zimage_turbo",
    prompt: "zorple",
    num_inference_steps: 1,
    guidance_scale: 4,
    standard_cfg: 4,
    seed: 7,
    width: 64,
    loras: [{ network_multiplier: 0.5 }],
    warnings: [],
  });
  // What was drawn is drawn again from its own picture.
  const again = await retake("generate", "--from", drawn.file_path, "--json", "--out", "b.png");
  expect(again.code).toBe(0);
  const { file_path: _, seconds: __, ...first } = drawn;
  const { file_path: ___, seconds: ____, ...second } = JSON.parse(again.stdout);
  expect({ ...second, profile_asked: null }).toEqual({ ...first, profile_asked: null });
  // Another file of that name is not the picture's LoRA.
  writeFileSync(join(folder, "zorple.safetensors"), "other");
  const other = await retake("generate", "--from", drawn.file_path);
  expect(other.code).toBe(2);
  expect(other.stderr).toContain("is another file than the picture's");
  rmSync(join(folder, "zorple.safetensors"));
});

test("a LoRA that is given for a picture's keeps its strength", async () => {
  const { stdout } = await retake(
    ...["explain", await writePicture("lora.png"), "--lora", zorple, "--json"],
  );
  expect(JSON.parse(stdout).loras).toEqual([
    expect.objectContaining({ network_multiplier: 0.5, modules: 32 }),
  ]);
});

test("a job's folder, or one preview in it: the request that the trainer drew, with the LoRA of its step", async () => {
  const told = async (...args: string[]) => {
    const { code, stdout, stderr } = await retake("explain", ...args, "--json");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    return JSON.parse(stdout);
  };
  const job = await told(demoJob, "--sample", "1");
  const file = readdirSync(join(demoJob, "samples")).findLast((name) => name.endsWith("_1.png"))!;
  const preview = await told(join(demoJob, "samples", file));
  expect(job).toEqual(preview);
  expect(preview).toMatchObject({
    source: `samples/${file} of the job e1b-deturbo`,
    model: "zimage_deturbo",
    profile: { name: "preview-0.7.6", asked: "preview-0.7.6" },
    size: { width: 192, height: 224, divisor: 32 },
    loras: [{ name: "e1b-deturbo.safetensors", problem: null }],
  });
  const before = readdirSync(join(demoJob, "samples")).find((name) => name.endsWith("_1.png"))!;
  expect((await told(join(demoJob, "samples", before))).loras).toEqual([]);
});

test("without weights an explanation says what it could not count", async () => {
  const empty = mkdtempSync(join(folder, "empty-"));
  const { code, stdout } = await retake(
    ...["explain", "--prompt", "x", "--model", "zimage_turbo", "--weights", empty, "--json"],
  );
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    prompt: { tokens: null },
    weights: expect.arrayContaining([expect.objectContaining({ state: "missing" })]),
    warnings: [expect.stringContaining("usual shift, 3")],
  });
});

test.each([
  [["explain"], "--prompt <text>"],
  [["explain", "--prompt", "x", "--sample", "1"], "--sample: it chooses from a file"],
  [["explain", "none.png"], "none.png can't be opened"],
  [["generate", "--from", "none.png"], "none.png can't be opened"],
  [["explain", "--prompt", "x", "--guidance", "30"], "--guidance"],
])("%j is refused", async (args, message) => {
  const { code, stderr } = await retake(...args);
  expect(code).toBe(2);
  expect(stderr).toContain(message);
});
