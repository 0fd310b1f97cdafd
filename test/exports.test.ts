import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { stateFile } from "../src/preview/state-file.ts";
import { parseGraph } from "../src/tools/comfy-graph.ts";
import { readComfyGraph } from "../src/tools/comfyui.ts";
import { sigmasIn } from "../src/tools/schedule-in.ts";
import { readF32, readSafetensors } from "../src/weights/safetensors.ts";
import { goldenFolder, readGolden, toleranceOf } from "./golden.ts";
import { startRetake } from "./retake-process.ts";
import { ServerProcess } from "./server-process.ts";

interface Case {
  readonly name: string;
  readonly flags: readonly string[];
}
const cases = readGolden<Case[]>("exports/cases.json");
const latents = "exports/latents.safetensors";
const root = fileURLToPath(new URL("..", import.meta.url));
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-exports-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** In the repository: the cases' LoRAs are named from there. */
const retake = (...args: string[]) =>
  startRetake([...args, "--weights", "demo"], { cwd: root, env: { HOME: folder } }).ended;

/** The files of a case's LoRAs, without their multipliers. */
const loraFlags = (flags: readonly string[]) =>
  flags.flatMap((flag, i) => (flags[i - 1] === "--lora" ? ["--lora", flag.split("=")[0]!] : []));

/** The release that wrote a text stands in it. */
const withoutVersion = (text: string) => text.replaceAll(/Retake \d[\w.-]*/g, "Retake");

describe.each(cases)("$name", ({ name, flags }) => {
  test.each([
    ["diffusers", `${name}.py`],
    ["comfyui", `${name}.comfyui.json`],
  ])("what is written for %s is what was run", async (target, file) => {
    const { code, stdout } = await retake("export", ...flags, "--to", target);
    expect(code).toBe(0);
    const ran = readFileSync(join(goldenFolder, "exports", file), "utf8");
    expect(withoutVersion(stdout)).toBe(withoutVersion(ran));
  });

  test("diffusers and ComfyUI's functions draw our latents", async () => {
    const trace = join(folder, `${name}.safetensors`);
    const out = join(folder, `${name}.png`);
    const { code, stdout } = await retake(
      ...["generate", ...flags, "--trace", trace, "--out", out, "--json"],
    );
    expect(code).toBe(0);
    const { sigmas } = JSON.parse(stdout);
    const updates = new Set(sigmas).size - 1;
    const { tensors: own } = await readSafetensors(trace);
    const { tensors: golden } = await readSafetensors(join(goldenFolder, latents));
    const ours = await readF32(own.get(`latents.${updates - 1}`)!);
    for (const tool of ["diffusers", "comfyui"]) {
      const theirs = await readF32(golden.get(`${name}.${tool}`)!);
      expect(ours, tool).toBeAllclose(theirs, toleranceOf(latents, `${name}.${tool}`));
    }
  });

  test("the graph, taken as a request, draws what ComfyUI's functions draw", async () => {
    const graph = join(goldenFolder, "exports", `${name}.comfyui.json`);
    const trace = join(folder, `${name}-from.safetensors`);
    const { code, stdout, stderr } = await retake(
      ...["generate", "--from", graph, "--json", ...loraFlags(flags)],
      ...["--trace", trace, "--out", join(folder, `${name}-from.png`)],
    );
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: expect.not.stringContaining("noise levels"),
    });
    const updates = JSON.parse(stdout).sigmas.length - 1;
    const { tensors: own } = await readSafetensors(trace);
    const { tensors: golden } = await readSafetensors(join(goldenFolder, latents));
    expect(await readF32(own.get(`latents.${updates - 1}`)!)).toBeAllclose(
      await readF32(golden.get(`${name}.comfyui`)!),
      toleranceOf(latents, `${name}.comfyui`),
    );
  });

  test("a graph reads back as the request", async () => {
    const { stdout } = await retake("explain", ...flags, "--json");
    const { guidance, steps, seed, size, prompt } = JSON.parse(stdout);
    const graph = parseGraph(readGolden(`exports/${name}.comfyui.json`));
    const read = readComfyGraph(graph, size);
    expect(read).toMatchObject({
      prompt: prompt.text,
      standardCfg: guidance.standard_cfg,
      width: size.width,
      height: size.height,
      sampler: "euler",
      shift: 3,
      unread: [],
    });
    // JSON in a golden loses digits of the largest seed; the text keeps them.
    const text = readFileSync(join(goldenFolder, `exports/${name}.comfyui.json`), "utf8");
    expect(text).toContain(`seed": ${seed}`);
    const levels = [...new Set<number>(steps.sigmas)];
    const found = sigmasIn(read) as number[];
    expect(found.length).toBe(levels.length);
    for (const [i, level] of levels.entries()) expect(found[i]).toBeCloseTo(level, 6);
  });

  test("a sample for the trainer is the request again", async () => {
    const { code, stdout } = await retake("export", ...flags, "--to", "ai-toolkit");
    expect(code).toBe(0);
    const config = stdout.replaceAll(/^/gm, "      ");
    const job =
      "config:\n  name: x\n  process:\n    - type: diffusion_trainer\n" +
      "      model: { name_or_path: Tongyi-MAI/Z-Image-Turbo, arch: zimage }\n" +
      `      train: { dtype: float32 }\n${config}`;
    const stated = await stateFile(new TextEncoder().encode(job), "config.yaml");
    const told = JSON.parse((await retake("explain", ...flags, "--json")).stdout);
    // The demonstration's LoRA is of the newest era.
    const again = await retake(
      ...[
        "explain",
        "--profile",
        "preview-0.10.25",
        "--json",
        "--prompt",
        String(stated.request.prompt),
      ],
      ...[
        "--steps",
        String(stated.request.steps),
        "--guidance",
        String(stated.request.guidanceScale),
      ],
      ...["--width", String(stated.request.width), "--height", String(stated.request.height)],
      ...["--seed", String(stated.request.seed), "--neg", stated.request.negativePrompt ?? ""],
      ...["--model", told.model],
    );
    const drawn = JSON.parse(again.stdout);
    expect(drawn.guidance.weight).toBeCloseTo(told.guidance.weight, 9);
    expect(drawn.steps.updates).toBe(told.steps.updates);
    expect([drawn.prompt.text, drawn.negative_prompt.text, drawn.seed]).toEqual([
      told.prompt.text,
      told.negative_prompt.text,
      told.seed,
    ]);
    // A sample at 0 is drawn without its LoRA.
    expect(stated.loras[0]?.multiplier ?? 0).toBe(told.loras[0].network_multiplier);
  });
});

test("the curl scripts draw the pictures on a server", async () => {
  const server = await ServerProcess.start(join(folder, "server"), { RETAKE_MAX_LORAS: "2" });
  try {
    for (const { name, flags } of cases) {
      const script = join(folder, `${name}.sh`);
      await retake("export", ...flags, "--to", "curl", "--out", script);
      const env = { PATH: process.env.PATH, RETAKE_SERVER: server.url };
      const { stdout } = await promisify(execFile)("sh", [script], { env });
      const { request_id: id } = JSON.parse(stdout);
      const result = await server.ended(id);
      expect(result, name).toMatchObject({ status: "succeeded", error: null });
      const sent = await fetch(result.outputs.images[0].url);
      const own = join(folder, `${name}-own.png`);
      expect((await retake("generate", ...flags, "--out", own)).code).toBe(0);
      const pixels = await sharp(Buffer.from(await sent.arrayBuffer()))
        .raw()
        .toBuffer();
      expect(pixels.equals(await sharp(own).raw().toBuffer()), name).toBe(true);
    }
  } finally {
    await server.stop();
  }
}, 300_000);

test("a LoRA that --lora doesn't replace is named as left out", async () => {
  const graph = join(goldenFolder, "exports", "two-loras-0.9.14.comfyui.json");
  const { code, stdout } = await retake(
    ...["explain", graph, "--lora", "demo/loras/zorple.safetensors", "--json"],
  );
  expect(code).toBe(0);
  expect(JSON.parse(stdout).warnings).toContain(
    "--lora names 1 of its 2 LoRAs: zorple.safetensors is left out.",
  );
});

test("export writes a file, and says what is not the same there", async () => {
  const out = join(folder, "request.sh");
  const { code, stdout, stderr } = await retake(
    ...["export", ...cases[0]!.flags, "--to", "curl", "--out", out],
  );
  expect({ code, stdout }).toEqual({ code: 0, stdout: `${out}\n` });
  expect(stderr).toContain("zorple.safetensors is looked for in the server's LoRA folder");
  expect(stderr).toContain("needs sample_steps 8 and guidance_scale 2 there");
  const refused = await retake("export", "--prompt", "x", "--to", "curl");
  expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining("it needs a LoRA") });
});
