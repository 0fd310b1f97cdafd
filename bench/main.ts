import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { cpus, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { z } from "zod";

/** What the peer prints. */
const figuresSchema = z.object({
  stepSeconds: z.number(),
  requestSeconds: z.number(),
  peakMiB: z.number(),
});
type Figures = z.output<typeof figuresSchema>;

/** What `retake bench --json` prints, as far as it is compared. */
const benchSchema = z.object({
  open_seconds: z.number(),
  sizes: z.tuple([z.object({ step_seconds: z.number(), request_seconds: z.number() })]),
  peak_bytes: z.number(),
});

interface Case {
  readonly name: string;
  /** Flags of reference/make_checkpoint.py, or none for the demonstration store. */
  readonly checkpoint?: readonly string[];
  readonly model: string;
  readonly size: number;
  readonly steps: number;
  readonly guidance: number;
}

const root = fileURLToPath(new URL("..", import.meta.url));

/** Two layers at the real width: a step's time per layer is what the whole model's is. */
const realWidth = [
  ...["--preset", "real", "--layers", "2", "--refiner-layers", "1", "--te-layers", "3"],
  ...["--vocab", "2048"],
];
const cases: readonly Case[] = [
  { name: "demo 256", model: "zimage_deturbo", size: 256, steps: 9, guidance: 3 },
  ...[256, 512].flatMap((size) =>
    [0, 3].map((guidance) => ({
      name: `real width, 3 of 32 layers, bf16 file, ${size}, guidance ${guidance}`,
      checkpoint: realWidth,
      model: "zimage_turbo",
      size,
      steps: 4,
      guidance,
    })),
  ),
];

const options = new Command("bench")
  .requiredOption("--python <path>", "a Python with reference/requirements-head.txt installed")
  .option("--work <folder>", "where checkpoints are made", join(tmpdir(), "retake-bench"))
  .option("--out <file>", "where the results go", join(root, "bench", "results", "latest.json"))
  .parse()
  .opts<{ python: string; work: string; out: string }>();

function run(command: string, args: readonly string[]): string {
  const result = spawnSync(command, args, {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (result.status !== 0) throw new Error(`${command} ${args.join(" ")} failed`);
  return result.stdout;
}

function figures(command: string, args: readonly string[]): Figures {
  return figuresSchema.parse(JSON.parse(run(command, args).trim().split("\n").at(-1)!));
}

/** In a process of its own: it measures its memory. */
function ours(store: string, { model, size, steps, guidance }: Case): Figures {
  const args = ["--model", model, "--size", size, "--steps", steps, "--guidance", guidance];
  const command = ["bench", "--json", "--device", "cpu", "--weights", store, ...args].map(String);
  const printed = run(process.execPath, [join(root, "src", "cli", "main.ts"), ...command]);
  const { open_seconds, sizes, peak_bytes } = benchSchema.parse(JSON.parse(printed));
  return {
    stepSeconds: sizes[0].step_seconds,
    requestSeconds: open_seconds + sizes[0].request_seconds,
    peakMiB: peak_bytes / 2 ** 20,
  };
}

function storeFor({ checkpoint }: Case): string {
  if (checkpoint === undefined) return join(root, "demo", "weights");
  const store = join(options.work, "real-width");
  if (!existsSync(store)) {
    run(options.python, [join(root, "reference", "make_checkpoint.py"), store, ...checkpoint]);
  }
  return store;
}

const rows = cases.map((item) => {
  const store = storeFor(item);
  const args = [store, item.model, item.size, item.steps, item.guidance].map(String);
  const own = ours(store, item);
  const peer = (dtype: string) =>
    figures(options.python, [join(root, "reference", "bench_peer.py"), ...args, dtype]);
  const f32 = peer("f32");
  const bf16 = peer("bf16");
  const ratios = {
    stepToF32: own.stepSeconds / f32.stepSeconds,
    requestToF32: own.requestSeconds / f32.requestSeconds,
    stepToBf16: own.stepSeconds / bf16.stepSeconds,
  };
  process.stdout.write(
    `${item.name}\n  step ${own.stepSeconds.toFixed(3)} s: ${ratios.stepToF32.toFixed(2)} of diffusers f32, ` +
      `${ratios.stepToBf16.toFixed(2)} of diffusers bf16; request ${own.requestSeconds.toFixed(2)} s: ` +
      `${ratios.requestToF32.toFixed(2)} of f32; peak ${own.peakMiB.toFixed(0)} MiB against ` +
      `${f32.peakMiB.toFixed(0)} (f32), ${bf16.peakMiB.toFixed(0)} (bf16)\n`,
  );
  return { case: item.name, ours: own, diffusersF32: f32, diffusersBf16: bf16, ratios };
});
mkdirSync(join(options.out, ".."), { recursive: true });
const machine = {
  cpu: cpus()[0]?.model.trim(),
  cores: cpus().length,
  memoryGiB: Math.round(totalmem() / 2 ** 30),
  node: process.version,
};
writeFileSync(options.out, `${JSON.stringify({ machine, rows }, null, 2)}\n`);
