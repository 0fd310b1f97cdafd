import { dirname, join, relative, resolve } from "node:path";
import type { Command } from "commander";
import { InvalidArgumentError, Option } from "commander";
import type { DeviceChoice } from "../config/model-options.ts";
import { InputError } from "../errors.ts";
import { openRegular } from "../files/read.ts";
import { models } from "../models/registry.ts";
import type { JobFolder } from "../preview/job-folder.ts";
import { readJobFolder } from "../preview/job-folder.ts";
import type { Plan } from "../preview/plan.ts";
import { planRetakes } from "../preview/plan.ts";
import { openRenderer } from "../preview/renderer.ts";
import { retakeJob } from "../preview/retake.ts";
import { writeJson } from "../wire/python-json.ts";
import { deviceOption, sayDevice } from "./device.ts";
import { parseNumber } from "./options.ts";
import { sayPreparing } from "./preparing.ts";
import { summaryOf } from "./preview-summary.ts";
import { startProgress } from "./progress.ts";
import { readModelSettings } from "./settings.ts";
import { stoppable } from "./stop-signal.ts";
import type { StorageFlags } from "./storage-flags.ts";
import { addStorageOptions, sayStorage, storageVariables } from "./storage-flags.ts";

interface PreviewFlags extends StorageFlags {
  readonly config?: string;
  readonly step?: number[];
  readonly sample?: number[];
  readonly era?: string;
  readonly asTrained: boolean;
  readonly trainingAdapter?: string;
  readonly report?: string;
  readonly limit?: number;
  readonly weights?: string;
  readonly transformer?: string;
  readonly device?: DeviceChoice;
  readonly json?: boolean;
}

export function addPreviewCommand(program: Command): void {
  const preview = program
    .command("preview")
    .description("take a training's previews again and say how near each one comes")
    .argument("<job>", "the folder that ai-toolkit wrote, a LoRA in it, or one of its previews")
    .option("--config <file>", "the job's configuration (default: the folder's config.yaml)")
    .option("--step <list>", "only previews of these steps, as 0,500", parseList)
    .option(
      "--sample <list>",
      "only these samples, counted from 0 as in the files' names",
      parseList,
    )
    .option("--era <version>", "of ai-toolkit, or a profile (default: by the LoRAs' headers)")
    .addOption(
      new Option("--as-trained", "round the weights as a quantised job did").default(true, "on"),
    )
    .option("--no-as-trained", "draw with the weights as they are stored")
    .option(
      "--training-adapter <file>",
      "the job's training adapter (default: the one that it names, from the model store)",
    )
    .option("--report <folder>", "where the report goes (default retake-NAME)")
    .option("--limit <seconds>", "begin no further picture after this time", parseSeconds)
    .option("--weights <folder>", "model store, hub cache folder, hub, or demo (RETAKE_WEIGHTS)")
    .option(
      "--transformer <file>",
      "take the transformer from this .safetensors or .gguf file (RETAKE_TRANSFORMERS)",
    )
    .addOption(deviceOption())
    .option("--json", "print report.json")
    .action((job: string, flags: PreviewFlags) =>
      stoppable((signal) => takePreviews(job, flags, signal)),
    );
  addStorageOptions(preview);
}

async function takePreviews(
  target: string,
  flags: PreviewFlags,
  signal: AbortSignal,
): Promise<void> {
  const settings = readModelSettings({
    RETAKE_WEIGHTS: flags.weights,
    ...storageVariables(flags),
    DEVICE: flags.device,
  });
  const job = await readJobFolder(target, {
    environment: process.env,
    ...(flags.config === undefined ? {} : { config: flags.config }),
  });
  if (flags.trainingAdapter !== undefined) await requireAdapter(job, flags.trainingAdapter);
  const plan = planRetakes(job, {
    asTrained: flags.asTrained,
    ...(flags.trainingAdapter === undefined
      ? {}
      : { trainingAdapter: resolve(flags.trainingAdapter) }),
    ...(flags.era === undefined ? {} : { era: flags.era }),
    ...(flags.step === undefined ? {} : { steps: flags.step }),
    ...(flags.sample === undefined ? {} : { samples: flags.sample }),
  });
  requirePictures(plan);
  const device = await sayDevice(settings, signal);
  const folder = flags.report ?? reportFolder(job);
  await using renderer = openRenderer({
    weights: settings.weights,
    storage: settings.storage,
    cacheFolder: settings.cacheFolder,
    device,
    transformers: transformersOf(flags.transformer, settings.transformers),
    signal,
    onStart: sayPreparing,
    onStorage: sayStorage,
  });
  const progress = startProgress("{bar} picture {value}/{total}, {eta_formatted} left");
  try {
    const report = await retakeJob(plan, {
      renderer,
      folder,
      signal,
      onProgress: ({ done, total, step, steps }) =>
        progress.update(steps === 0 ? done : done + step / (steps + 1), total),
      ...(flags.limit === undefined ? {} : { limitSeconds: flags.limit }),
    });
    progress.stop();
    process.stdout.write(
      flags.json === true
        ? `${writeJson(report)}\n`
        : summaryOf(report, join(folder, "report.html")),
    );
  } finally {
    progress.stop();
  }
}

/** Before anything is drawn; a file that no picture would be drawn with is a mistake. */
async function requireAdapter({ config }: JobFolder, file: string): Promise<void> {
  if (config.model.assistantLoraPath === null) {
    throw new InputError(
      "--training-adapter: the job was trained without one, as its model has no assistant_lora_path. Leave it away.",
    );
  }
  const { handle } = await openRegular(file, "training adapter");
  await handle.close();
}

function requirePictures({ samples, job }: Plan): void {
  if (samples.length > 0) return;
  const notes = job.notes.length === 0 ? "" : `: ${job.notes.join("; ")}`;
  throw new InputError(
    `${job.root} has no previews${notes}. The trainer writes them to samples/, and names them time__step_sample.jpg.`,
  );
}

/** Beside where the user works, and never inside of the job's folder. */
function reportFolder({ root, name }: JobFolder): string {
  const own = `retake-${name.replaceAll(/[^\p{L}\p{N}_.-]+/gu, "_").slice(0, 80)}`;
  const here = resolve(".");
  const inside = !relative(root, here).startsWith("..");
  return inside ? join(dirname(root), own) : own;
}

function transformersOf(
  file: string | undefined,
  settings: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  return file === undefined ? settings : Object.fromEntries(models.map(({ id }) => [id, file]));
}

function parseList(text: string, previous: number[] = []): number[] {
  const numbers = text.split(",").map((part) => {
    if (!/^\s*\d{1,9}\s*$/.test(part)) {
      throw new InvalidArgumentError(`"${part}" is not a whole number from 0 on.`);
    }
    return Number(part);
  });
  return [...previous, ...numbers];
}

function parseSeconds(text: string): number {
  const seconds = parseNumber(text);
  if (seconds > 0) return seconds;
  throw new InvalidArgumentError(`"${text}" is not above 0 seconds.`);
}
