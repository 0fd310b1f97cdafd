import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { z } from "zod";
import { generateRequestSchema } from "../src/job/request.ts";
import type { OpenOptions } from "../src/pipeline/open.ts";
import { openPipeline } from "../src/pipeline/open.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { psnr, similarity } from "./likeness.ts";

// Pictures of the demonstration checkpoint in each storage against those of bf16, and steps
// at the real width. The files are written by reference/quantised_store.py.

const root = fileURLToPath(new URL("..", import.meta.url));
const files = {
  Q8_0: "q8_0.gguf",
  Q4_K: "q4_k.gguf",
  fp8: "fp8.safetensors",
  "fp8 scaled": "fp8-scaled.safetensors",
};
const pictures: readonly [string, number][] = [
  ["a red circle on blue", 1],
  ["a small green star on the left, white background", 2],
  ["a yellow triangle on purple", 3],
  ["a big purple star on yellow", 4],
  ["an orange square on black", 5],
  ["a blue triangle on the right, white background", 6],
  ["a white circle on green", 7],
  ["a small black square on red", 8],
];

const options = new Command("bench/quantised")
  .requiredOption("--demo-files <folder>", "the demonstration's De-Turbo in other formats")
  .requiredOption("--real-store <folder>", "a store of the real width")
  .requiredOption("--real-files <folder>", "its transformer in other formats")
  .requiredOption("--cache <folder>", "where derived files go")
  .option("--steps <count>", "steps at the real width, the fastest counts", "7")
  .option("--sizes <pixels...>", "pictures at the real width", ["256", "512"])
  .option("--out <file>", "JSON", join(root, "bench", "results", "quantised.json"))
  .parse()
  .opts<{
    demoFiles: string;
    realStore: string;
    realFiles: string;
    cache: string;
    sizes: string[];
    steps: string;
    out: string;
  }>();

async function draw(own: Partial<OpenOptions>): Promise<Tensor[]> {
  await using pipeline = await openPipeline({
    model: "zimage_deturbo",
    cacheFolder: options.cache,
    ...own,
  });
  const drawn: Tensor[] = [];
  for (const [prompt, seed] of pictures) {
    const request = generateRequestSchema.parse({
      ...{ prompt, seed: BigInt(seed), width: 256, height: 256, steps: 12 },
    });
    drawn.push((await pipeline.generate(request)).image);
  }
  return drawn;
}

const figuresSchema = z.object({
  stepSeconds: z.number(),
  stepProcessorSeconds: z.number(),
  openSeconds: z.number(),
  transformerMiB: z.number(),
  peakOwnMiB: z.number(),
});

const folder = mkdtempSync(join(tmpdir(), "retake-bench-"));

function timed(size: string, storage: readonly string[]) {
  const prediction = join(folder, "prediction.f32");
  const args = [options.realStore, size, options.steps, options.cache, prediction, ...storage];
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    [join(root, "bench", "quantised-step.ts"), ...args],
    { encoding: "utf8" },
  );
  if (status !== 0) throw new Error(stderr);
  const figures = figuresSchema.parse(JSON.parse(stdout));
  return {
    figures,
    prediction: new Float32Array(Uint8Array.from(readFileSync(prediction)).buffer),
  };
}

/** Root mean square of the difference, of the reference's own. */
function relativeError(found: Float32Array, reference: Float32Array): number {
  const squares = (values: Float32Array) => values.reduce((sum, value) => sum + value * value, 0);
  return Math.sqrt(squares(found.map((value, i) => value - reference[i]!)) / squares(reference));
}

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;

try {
  const plain = await draw({});
  const variants: [string, Partial<OpenOptions>, (folder: string) => string[]][] = [
    ...Object.entries(files).map(([name, file]): (typeof variants)[number] => [
      name,
      { transformer: join(options.demoFiles, file) },
      (where) => [join(where, file)],
    ]),
    ["f16", { storage: "f16" }, () => ["f16"]],
    ["int8", { storage: "int8" }, () => ["int8"]],
  ];
  const quality: Record<string, object> = {};
  for (const [name, own] of variants) {
    const drawn = await draw(own);
    const ratios = drawn.map((picture, i) => psnr(picture, plain[i]!));
    const likeness = drawn.map((picture, i) => similarity(picture, plain[i]!));
    quality[name] = {
      psnr: mean(ratios),
      lowestPsnr: Math.min(...ratios),
      ssim: mean(likeness),
      lowestSsim: Math.min(...likeness),
    };
    process.stdout.write(`${name}: ${JSON.stringify(quality[name])}\n`);
  }
  const steps: object[] = [];
  for (const size of options.sizes) {
    const base = timed(size, []);
    steps.push({ size: Number(size), storage: "bf16", ...base.figures });
    for (const [name, , storage] of variants) {
      const run = timed(size, storage(options.realFiles));
      const row = {
        size: Number(size),
        storage: name,
        ...run.figures,
        relativeError: relativeError(run.prediction, base.prediction),
        stepToBf16: run.figures.stepSeconds / base.figures.stepSeconds,
        processorToBf16: run.figures.stepProcessorSeconds / base.figures.stepProcessorSeconds,
        transformerToBf16: run.figures.transformerMiB / base.figures.transformerMiB,
      };
      steps.push(row);
      process.stdout.write(`${JSON.stringify(row)}\n`);
    }
  }
  const machine = { cpu: cpus()[0]?.model.trim(), cores: cpus().length, node: process.version };
  writeFileSync(options.out, `${JSON.stringify({ machine, quality, steps }, null, 2)}\n`);
} finally {
  rmSync(folder, { recursive: true });
}
