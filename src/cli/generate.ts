import { rm } from "node:fs/promises";
import { basename, resolve } from "node:path";
import type { Command } from "commander";
import { InvalidArgumentError, Option } from "commander";
import type { Device, Quantize } from "../config/model-options.ts";
import { devices, quantizeKinds } from "../config/model-options.ts";
import type { ModelSettings } from "../config/settings.ts";
import { InputError } from "../errors.ts";
import { checkWritable, formatOf, writeImage } from "../image/write-image.ts";
import type { GenerateRequest } from "../job/request.ts";
import { askedProfileNames, boundedRequestSchema, bounds, defaultPixels } from "../job/request.ts";
import { defaultSeed } from "../job/seed.ts";
import { modelById, models } from "../models/registry.ts";
import { providerFor } from "../onnx/device.ts";
import type { GenerateOptions } from "../pipeline/generate.ts";
import type { OpenOptions } from "../pipeline/open.ts";
import { openPipeline } from "../pipeline/open.ts";
import { Trace } from "../pipeline/trace.ts";
import { version } from "../version.ts";
import type { AsTrainedFlags } from "./as-trained.ts";
import { addAsTrainedOptions, roundingOfFlags } from "./as-trained.ts";
import { loraFile } from "./lora-file.ts";
import { addNeededOption, parseLoraOption, parseNumber } from "./options.ts";
import { startProgress } from "./progress.ts";
import { readModelSettings } from "./settings.ts";
import { stoppable } from "./stop-signal.ts";

interface GenerateFlags extends AsTrainedFlags {
  readonly model: string;
  readonly weights?: string;
  readonly transformer?: string;
  readonly quantize?: "none" | Quantize;
  readonly lora?: { path: string; multiplier: number }[];
  readonly prompt: string;
  readonly neg: string;
  readonly trigger?: string;
  readonly width?: number;
  readonly height?: number;
  readonly steps?: number;
  readonly guidance?: number;
  readonly seed?: bigint;
  readonly profile: string;
  readonly device?: Device;
  readonly out?: string;
  readonly trace?: string;
  readonly json?: boolean;
}

/** Names of the flags that fill the request's fields. */
const flagOf: Record<string, string> = {
  loras: "--lora",
  "loras.path": "--lora",
  "loras.multiplier": "--lora FILE=MULTIPLIER",
  negativePrompt: "--neg",
  triggerWord: "--trigger",
  guidanceScale: "--guidance",
};

export function addGenerateCommand(program: Command): void {
  const generate = program.command("generate").description("make one picture");
  addNeededOption(generate, "--prompt <text>", "what to draw")
    .option("--model <id>", `one of ${models.map(({ id }) => id).join(", ")}`, "zimage_deturbo")
    .option("--weights <folder>", "model store, hub cache folder, hub, or demo (RETAKE_WEIGHTS)")
    .option(
      "--transformer <file>",
      "take the transformer from this .safetensors or .gguf file (RETAKE_TRANSFORMERS)",
    )
    .addOption(
      new Option(
        "--quantize <kind>",
        "round the transformer when it is loaded (RETAKE_QUANTIZE)",
      ).choices(["none", ...quantizeKinds]),
    )
    .option(
      "--lora <file[=multiplier]>",
      `LoRA file or link (https://..., hf:owner/repo), multiplier ${rangeOf(bounds.multiplier)} (default 1); several act together`,
      parseLoraOption,
    )
    .option("--neg <text>", "negative prompt; acts where guidance runs", "")
    .option("--trigger <word>", "replaces [trigger] in the prompt")
    .option("--width <pixels>", `${rangeOf(bounds.pixels)} (default ${defaultPixels})`, parseNumber)
    .option(
      "--height <pixels>",
      `${rangeOf(bounds.pixels)} (default ${defaultPixels})`,
      parseNumber,
    )
    .option("--steps <count>", `${rangeOf(bounds.steps)} (default: the model's)`, parseNumber)
    .option(
      "--guidance <scale>",
      `${rangeOf(bounds.guidanceScale)} (default: the model's)`,
      parseNumber,
    )
    .option("--seed <integer>", `-1 draws one (default ${defaultSeed})`, parseInteger)
    .addOption(
      new Option("--profile <name>", "what the numbers mean; preview: what they meant in training")
        .choices(askedProfileNames)
        .default("preview"),
    )
    .addOption(
      new Option("--device <name>", "what computes (the first of DEVICE)").choices(devices),
    )
    .option("--out <file>", "picture to write, .png, .jpg or .webp (default <model>-<seed>.png)")
    .option("--trace <file>", "write every stage's tensors to this .safetensors file")
    .option("--json", "print the result as JSON")
    .action(runGenerate);
  addAsTrainedOptions(generate);
}

function rangeOf({ ge, le }: { readonly ge: number; readonly le: number }): string {
  return `${ge} to ${le}`;
}

function runGenerate(flags: GenerateFlags): Promise<void> {
  return stoppable((signal) => generatePicture(flags, signal));
}

async function generatePicture(flags: GenerateFlags, signal: AbortSignal): Promise<void> {
  const asked = parseRequest(flags);
  modelById(flags.model);
  const settings = readModelSettings({
    RETAKE_WEIGHTS: flags.weights,
    RETAKE_QUANTIZE: flags.quantize,
    DEVICE: flags.device,
  });
  const openWith = openOptions(flags, settings, signal);
  providerFor(openWith.device);
  if (flags.out !== undefined) {
    formatOf(flags.out);
    await checkWritable(flags.out);
  }
  if (flags.trace !== undefined) await checkWritable(flags.trace);
  const request = await withLoraFiles(asked, signal);
  const asTrained = await roundingOfFlags(flags, flags.model, request, settings.quantize);
  const options = asTrained === undefined ? openWith : { ...openWith, asTrained };

  const progress = startProgress("{bar} step {value}/{total}, {eta_formatted} left");
  const trace = flags.trace === undefined ? undefined : new Trace();
  const startedAt = performance.now();
  try {
    await using pipeline = await openPipeline(options);
    const generated = await pipeline.generate(request, {
      signal,
      onDecided: (decided) => sayDecided(decided, flags),
      onStep: ({ step, total }) => progress.update(step, total),
      ...(trace === undefined ? {} : { trace }),
    });
    progress.stop();
    const out = flags.out ?? `${flags.model}-${generated.effective.seed}.png`;
    const seconds = (performance.now() - startedAt) / 1000;
    await writeImage(out, generated.image, generated.parameters);
    if (trace !== undefined && flags.trace !== undefined) {
      await writeTrace(trace, flags.trace, out);
    }
    process.stdout.write(
      flags.json === true
        ? `${JSON.stringify({ file_path: resolve(out), seconds, ...generated.parameters, warnings: generated.warnings })}\n`
        : `${out}\n`,
    );
  } finally {
    progress.stop();
  }
}

/** Before the wait: in which profile, why, and what of the numbers nobody gave. */
function sayDecided(
  { parameters, warnings }: Parameters<NonNullable<GenerateOptions["onDecided"]>>[0],
  { model, steps, guidance }: GenerateFlags,
): void {
  const { profile, profile_reason, num_inference_steps, guidance_scale } = parameters;
  if (profile_reason !== null) {
    const defaults = [
      ...(steps === undefined ? [`${num_inference_steps} steps`] : []),
      ...(guidance === undefined ? [`guidance ${guidance_scale}`] : []),
    ];
    const untold =
      defaults.length === 0 ? "" : `; ${defaults.join(" and ")} by default of ${model}`;
    process.stderr.write(`profile ${profile}: ${profile_reason}${untold}\n`);
  }
  for (const warning of warnings) process.stderr.write(`warning: ${warning}\n`);
}

/** With links replaced by the files that they lead to. */
async function withLoraFiles(
  request: GenerateRequest,
  signal: AbortSignal,
): Promise<GenerateRequest> {
  const loras: GenerateRequest["loras"] = [];
  for (const lora of request.loras) {
    loras.push({ ...lora, path: await loraFile(lora.path, signal) });
  }
  return { ...request, loras };
}

function openOptions(
  { model, transformer }: GenerateFlags,
  { weights, transformers, quantize, cacheFolder, devices: named }: ModelSettings,
  signal: AbortSignal,
): OpenOptions & { readonly device: Device } {
  return {
    model,
    weights,
    quantize,
    cacheFolder,
    // A server with DEVICE=none leaves the work to others; here nobody else would do it.
    device: named[0] ?? "cpu",
    keepOpen: false,
    signal,
    onStart: ({ sources, bytes }) => {
      if (!process.stderr.isTTY) return;
      const names = sources.map((file) => basename(file)).join(", ");
      process.stderr.write(
        `preparing ${names}: ${Math.ceil(bytes / 2 ** 20)} MiB, this once only\n`,
      );
    },
    ...given({ transformer: transformer ?? transformers[model] }),
  };
}

/** A picture without the trace that was asked for is half a result: neither stays. */
async function writeTrace(trace: Trace, path: string, out: string): Promise<void> {
  try {
    await trace.write(path, { software: `retake ${version}` });
  } catch (error) {
    await rm(out, { force: true });
    throw error;
  }
}

function parseRequest(flags: GenerateFlags): GenerateRequest {
  const parsed = boundedRequestSchema.safeParse({
    prompt: flags.prompt,
    negativePrompt: flags.neg,
    profile: flags.profile,
    ...given({ triggerWord: flags.trigger, loras: flags.lora, width: flags.width }),
    ...given({ height: flags.height, steps: flags.steps, seed: flags.seed }),
    ...given({ guidanceScale: flags.guidance }),
  });
  if (parsed.success) return parsed.data;
  throw new InputError(
    parsed.error.issues
      .map((issue) => {
        const field = issue.path.filter((part) => typeof part !== "number").join(".");
        return `${flagOf[field] ?? `--${field}`}: ${issue.message}.`;
      })
      .join(" "),
  );
}

function given<T extends object>(fields: T): Partial<T> {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as Partial<T>; // a subset of the fields, nothing else
}

function parseInteger(text: string): bigint {
  if (!/^\s*[+-]?\d+\s*$/.test(text))
    throw new InvalidArgumentError(`"${text}" is not a whole number.`);
  return BigInt(text.trim().replace(/^\+/, ""));
}
