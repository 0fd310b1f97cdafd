import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { z } from "zod";
import { generateRequestSchema } from "../src/job/request.ts";
import { modelById, models } from "../src/models/registry.ts";
import { openPipeline } from "../src/pipeline/open.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { readF32, readSafetensors } from "../src/weights/safetensors.ts";
import { psnr, similarity } from "./likeness.ts";

// 8 bits on a CPU beside diffusers in bf16: seconds per step of a store of the real shape, and how near pictures of
// the demonstration family are to f32, each to that of its own program. Noise and prompts are the same on both sides.

const root = fileURLToPath(new URL("..", import.meta.url));
const options = new Command("bench/int8")
  .requiredOption("--python <path>", "a Python with reference/requirements-head.txt installed")
  .option(
    "--store <folder>",
    "of the real shape (make_checkpoint.py --preset real): times its steps",
  )
  .option("--cache <folder>", "where 8 bits are written", join(tmpdir(), "retake-int8"))
  .option("--seed <number>", "of the first picture", "1")
  .option("--pictures <count>", "of each model; 0: none are drawn", "20")
  .option("--out <file>", "JSON; what isn't measured stays", join(root, "bench/results/int8.json"))
  .parse()
  .opts<Record<"python" | "cache" | "seed" | "pictures" | "out", string> & { store?: string }>();

function run(command: string, args: readonly string[], input = ""): string {
  const env = { ...process.env, RETAKE_CACHE: options.cache };
  const result = spawnSync(command, args, { encoding: "utf8", env, input, maxBuffer: 2 ** 26 });
  if (result.status !== 0) throw new Error(`${command} ${args.join(" ")}: ${result.stderr}`);
  return result.stdout.trim();
}

const python = (script: string, args: readonly string[], input?: string) =>
  run(options.python, [join(root, "reference", script), ...args], input);

const benchSchema = z.object({
  sizes: z.tuple([
    z.object({
      step_seconds: z.number(),
      first_step_seconds: z.number(),
      request_seconds: z.number(),
    }),
  ]),
  open_seconds: z.number(),
});

/** 256x256, two captions, four steps. */
function speed(store: string): object {
  const ours = (storage: string) => {
    const command = ["bench", "--json", "--device", "cpu", "--weights", store, "--size", "256"];
    const args = [...command, "--steps", "4", "--guidance", "1", "--storage", storage];
    const printed = run(process.execPath, [join(root, "src/cli/main.ts"), ...args]);
    const { sizes, open_seconds } = benchSchema.parse(JSON.parse(printed));
    return { ...sizes[0], open_seconds };
  };
  const bf16 = ours("original");
  const int8 = ours("int8");
  const args = [store, "zimage_turbo", "256", "4", "1", "bf16"];
  const peer = z
    .object({ stepSeconds: z.number(), requestSeconds: z.number() })
    .parse(JSON.parse(python("bench_peer.py", args)));
  return { bf16, int8, diffusersBf16: peer, int8ToDiffusers: int8.step_seconds / peer.stepSeconds };
}

const colours = ["red", "green", "blue", "yellow", "purple", "orange", "white", "black"];
const shapes = ["circle", "square", "triangle", "star"];

/** A picture's prompt and settings, by its seed. */
function requestOf(model: string, seed: number) {
  const colour = (i: number) => colours[i % colours.length]!;
  const { steps, guidanceScale } = modelById(model);
  const background = colour(seed * 3 + 1 + (colour(seed) === colour(seed * 3 + 1) ? 1 : 0));
  return {
    prompt: `a ${colour(seed)} ${shapes[seed % shapes.length]} on ${background}`,
    ...{ seed, steps: Math.min(steps, 16), width: 256, height: 256 },
    guidance: model === "zimage_turbo" ? 0 : guidanceScale,
  };
}

type Picture = ReturnType<typeof requestOf>;

async function ours(
  model: string,
  storage: "original" | "int8",
  pictures: readonly Picture[],
): Promise<Tensor[]> {
  const { cache: cacheFolder } = options;
  const opening = { model, weights: "demo", device: "cpu", storage, cacheFolder } as const;
  await using pipeline = await openPipeline(opening);
  const drawn: Tensor[] = [];
  for (const { seed, guidance, ...rest } of pictures) {
    const own = { seed: BigInt(seed), guidanceScale: guidance, profile: "diffusers" };
    const request = generateRequestSchema.parse({ ...rest, ...own });
    drawn.push((await pipeline.generate(request)).image);
  }
  return drawn;
}

async function theirs(
  model: string,
  dtype: "f32" | "bf16",
  pictures: readonly Picture[],
): Promise<Tensor[]> {
  const folder = mkdtempSync(join(tmpdir(), "retake-int8-"));
  try {
    const files = pictures.map((_, i) => join(folder, `${i}.safetensors`));
    const weights = join(root, "demo/weights");
    const lines = pictures.map((picture, i) =>
      JSON.stringify({ weights, model, dtype, out: files[i], run: picture }),
    );
    const answers = python("trace.py", ["--serve"], `${lines.join("\n")}\n`);
    if (answers.includes('"ok": false')) throw new Error(answers);
    const drawn: Tensor[] = [];
    for (const file of files)
      drawn.push(await readF32((await readSafetensors(file)).tensors.get("image")!));
    return drawn;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;

function nearness(drawn: readonly Tensor[], reference: readonly Tensor[]) {
  const ratios = drawn.map((picture, i) => psnr(picture, reference[i]!));
  const likeness = drawn.map((picture, i) => similarity(picture, reference[i]!));
  return {
    psnr: mean(ratios),
    lowestPsnr: Math.min(...ratios),
    ssim: mean(likeness),
    lowestSsim: Math.min(...likeness),
  };
}

async function quality(count: number): Promise<object> {
  const rows: Record<string, object> = {};
  for (const { id } of models) {
    const pictures = Array.from({ length: count }, (_, i) =>
      requestOf(id, Number(options.seed) + i),
    );
    const [whole, reference] = [
      await ours(id, "original", pictures),
      await theirs(id, "f32", pictures),
    ];
    rows[id] = {
      int8: nearness(await ours(id, "int8", pictures), whole),
      diffusersBf16: nearness(await theirs(id, "bf16", pictures), reference),
      oursToDiffusersF32: nearness(whole, reference).lowestPsnr,
    };
    process.stdout.write(`${id}: ${JSON.stringify(rows[id])}\n`);
  }
  return rows;
}

const known = existsSync(options.out) ? JSON.parse(readFileSync(options.out, "utf8")) : {};
const machine = { cpu: cpus()[0]?.model.trim(), cores: cpus().length, node: process.version };
const results = { ...known, machine };
if (options.store !== undefined) {
  results.speed = speed(options.store);
  process.stdout.write(`${JSON.stringify(results.speed)}\n`);
}
const count = Number(options.pictures);
if (count > 0) results.quality = await quality(count);
writeFileSync(options.out, `${JSON.stringify(results, null, 2)}\n`);
