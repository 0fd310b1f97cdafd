import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { cpus, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { z } from "zod";

/** What both sides print. */
const figuresSchema = z.object({
  stepSeconds: z.number(),
  requestSeconds: z.number(),
  peakMiB: z.number(),
});
type Figures = z.output<typeof figuresSchema>;

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

function storeFor({ checkpoint }: Case): string {
  if (checkpoint === undefined) return join(root, "demo", "weights");
  const store = join(options.work, "real-width");
  if (!existsSync(store)) {
    run(options.python, [join(root, "reference", "make_checkpoint.py"), store, ...checkpoint]);
  }
  return store;
}

const rows = cases.map((item) => {
  const args = [storeFor(item), item.model, item.size, item.steps, item.guidance].map(String);
  const ours = figures(process.execPath, [join(root, "bench", "ours.ts"), ...args]);
  const peer = (dtype: string) =>
    figures(options.python, [join(root, "reference", "bench_peer.py"), ...args, dtype]);
  const f32 = peer("f32");
  const bf16 = peer("bf16");
  const ratios = {
    stepToF32: ours.stepSeconds / f32.stepSeconds,
    requestToF32: ours.requestSeconds / f32.requestSeconds,
    stepToBf16: ours.stepSeconds / bf16.stepSeconds,
  };
  process.stdout.write(
    `${item.name}\n  step ${ours.stepSeconds.toFixed(3)} s: ${ratios.stepToF32.toFixed(2)} of diffusers f32, ` +
      `${ratios.stepToBf16.toFixed(2)} of diffusers bf16; request ${ours.requestSeconds.toFixed(2)} s: ` +
      `${ratios.requestToF32.toFixed(2)} of f32; peak ${ours.peakMiB.toFixed(0)} MiB against ` +
      `${f32.peakMiB.toFixed(0)} (f32), ${bf16.peakMiB.toFixed(0)} (bf16)\n`,
  );
  return { case: item.name, ours, diffusersF32: f32, diffusersBf16: bf16, ratios };
});
mkdirSync(join(options.out, ".."), { recursive: true });
const machine = {
  cpu: cpus()[0]?.model.trim(),
  cores: cpus().length,
  memoryGiB: Math.round(totalmem() / 2 ** 30),
  node: process.version,
};
writeFileSync(options.out, `${JSON.stringify({ machine, rows }, null, 2)}\n`);
