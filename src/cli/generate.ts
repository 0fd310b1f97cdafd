import { rm } from "node:fs/promises";
import { resolve } from "node:path";
import type { Command } from "commander";
import type { DeviceChoice } from "../config/model-options.ts";
import type { ModelSettings } from "../config/settings.ts";
import { InputError, oneLine } from "../errors.ts";
import { checkWritable, formatOf, writeImage } from "../image/write-image.ts";
import type { GenerateRequest } from "../job/request.ts";
import type { GenerateOptions } from "../pipeline/generate.ts";
import type { OpenOptions } from "../pipeline/open.ts";
import { openPipeline } from "../pipeline/open.ts";
import { Trace } from "../pipeline/trace.ts";
import { version } from "../version.ts";
import type { AsTrainedFlags } from "./as-trained.ts";
import { addAsTrainedOptions, roundingOfFlags } from "./as-trained.ts";
import { deviceOption, sayDevice } from "./device.ts";
import { loraFile } from "./lora-file.ts";
import { Pace } from "./pace.ts";
import { sayPreparing } from "./preparing.ts";
import { startProgress } from "./progress.ts";
import type { AskedRequest, RequestFlags } from "./request-flags.ts";
import { addRequestOptions, askedRequest, given } from "./request-flags.ts";
import { readModelSettings } from "./settings.ts";
import { stoppable } from "./stop-signal.ts";
import type { StorageFlags } from "./storage-flags.ts";
import { addStorageOptions, sayStorage, storageVariables } from "./storage-flags.ts";

interface GenerateFlags extends AsTrainedFlags, RequestFlags, StorageFlags {
  readonly from?: string;
  readonly weights?: string;
  readonly transformer?: string;
  readonly device?: DeviceChoice;
  readonly out?: string;
  readonly trace?: string;
  readonly json?: boolean;
}

export function addGenerateCommand(program: Command): void {
  const generate = program
    .command("generate")
    .description("make one picture")
    .option(
      "--from <file>",
      "take what no flag says from a picture (Retake, ComfyUI, A1111 and kin), a request or a job's configuration",
    );
  addRequestOptions(generate)
    .option("--weights <folder>", "model store, hub cache folder, hub, or demo (RETAKE_WEIGHTS)")
    .option(
      "--transformer <file>",
      "take the transformer from this .safetensors or .gguf file (RETAKE_TRANSFORMERS)",
    )
    .addOption(deviceOption())
    .option("--out <file>", "picture to write, .png, .jpg or .webp (default <model>-<seed>.png)")
    .option("--trace <file>", "write every stage's tensors to this .safetensors file")
    .option("--json", "print the result as JSON")
    .action(runGenerate);
  addStorageOptions(generate);
  addAsTrainedOptions(generate);
}

function runGenerate(flags: GenerateFlags): Promise<void> {
  return stoppable((signal) => generatePicture(flags, signal));
}

async function generatePicture(flags: GenerateFlags, signal: AbortSignal): Promise<void> {
  const asked = await askedRequest(flags, flags.from);
  const { model } = asked;
  requireLoras(asked);
  const settings = readModelSettings({
    RETAKE_WEIGHTS: flags.weights,
    ...storageVariables(flags),
    DEVICE: flags.device,
  });
  if (flags.out !== undefined) {
    formatOf(flags.out);
    await checkWritable(flags.out);
  }
  if (flags.trace !== undefined) await checkWritable(flags.trace);
  const device = await sayDevice(settings, signal);
  const openWith = openOptions(flags, model, settings, device, signal);
  for (const warning of asked.warnings) process.stderr.write(`warning: ${oneLine(warning)}\n`);
  const request = await withLoraFiles(asked.request, signal);
  const asTrained =
    (await roundingOfFlags(flags, model, request)) ??
    (flags.asTrained === undefined ? asked.asTrained : null);
  const options = asTrained === null ? openWith : { ...openWith, asTrained };

  const progress = startProgress("{bar} step {value}/{total}, {eta_formatted} left");
  const trace = flags.trace === undefined ? undefined : new Trace();
  const startedAt = performance.now();
  const pace = new Pace((line) => {
    if (flags.json !== true) process.stderr.write(`${line}\n`);
  });
  try {
    await using pipeline = await openPipeline(options);
    const generated = await pipeline.generate(request, {
      signal,
      onDecided: async (decided) => {
        sayDecided(decided, model, request);
        if (flags.json === true) return;
        pace.expect(await pipeline.estimateSeconds(decided.effective), decided.effective.steps);
      },
      onStage: (stage) => pace.begin(stage),
      onStep: ({ step, total }) => {
        pace.end(step, total);
        progress.update(step, total);
      },
      ...(trace === undefined ? {} : { trace }),
    });
    progress.stop();
    const out = flags.out ?? `${model}-${generated.effective.seed}.png`;
    const seconds = (performance.now() - startedAt) / 1000;
    await writeImage(out, generated.image, generated.parameters);
    if (trace !== undefined && flags.trace !== undefined) {
      await writeTrace(trace, flags.trace, out);
    }
    process.stdout.write(
      flags.json === true
        ? `${JSON.stringify({ file_path: resolve(out), seconds, ...generated.parameters, warnings: [...asked.warnings, ...generated.warnings] })}\n`
        : `${out}\n`,
    );
  } finally {
    progress.stop();
  }
}

/** Before the wait: in which profile, why, and what of the numbers nobody gave. */
function sayDecided(
  { parameters, warnings }: Parameters<NonNullable<GenerateOptions["onDecided"]>>[0],
  model: string,
  { steps, guidanceScale: guidance }: GenerateRequest,
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
  for (const warning of warnings) process.stderr.write(`warning: ${oneLine(warning)}\n`);
}

/** A picture without one of its LoRAs is another picture. */
function requireLoras({ loras }: AskedRequest): void {
  for (const { name, file } of loras) {
    if (typeof file === "object") throw new InputError(`The LoRA ${name}: ${file.missing}`);
  }
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
  { transformer }: GenerateFlags,
  model: string,
  { weights, transformers, storage, cacheFolder }: ModelSettings,
  device: DeviceChoice,
  signal: AbortSignal,
): OpenOptions {
  return {
    model,
    weights,
    storage,
    cacheFolder,
    device,
    keepOpen: false,
    signal,
    onStart: sayPreparing,
    onStorage: sayStorage,
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
