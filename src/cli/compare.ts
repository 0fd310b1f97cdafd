import { extname } from "node:path";
import type { Command } from "commander";
import type { DeviceChoice } from "../config/model-options.ts";
import { InputError } from "../errors.ts";
import { comparePictures } from "../preview/compare-pictures.ts";
import { compareTraces } from "../preview/compare-traces.ts";
import { loraFileAt, readComparedPicture } from "../preview/compared-picture.ts";
import type { Renderer } from "../preview/renderer.ts";
import { openRenderer } from "../preview/renderer.ts";
import type { Shot } from "../preview/shot.ts";
import { pictureJson, pictureText, traceText } from "./comparison-text.ts";
import { deviceOption, sayDevice } from "./device.ts";
import { parseNumber } from "./options.ts";
import { sayPreparing } from "./preparing.ts";
import { startProgress } from "./progress.ts";
import { readModelSettings } from "./settings.ts";
import { stoppable } from "./stop-signal.ts";
import type { StorageFlags } from "./storage-flags.ts";
import { addStorageOptions, sayStorage, storageVariables } from "./storage-flags.ts";

interface CompareFlags extends StorageFlags {
  readonly weights?: string;
  readonly lora?: string[];
  readonly device?: DeviceChoice;
  readonly limit?: number;
  readonly draw: boolean;
  readonly json?: boolean;
}

export function addCompareCommand(program: Command): void {
  const command = program
    .command("compare")
    .description("say how two pictures or two traces differ, and why")
    .argument(
      "<first>",
      "a picture: a preview in its job's folder, one of Retake, of another tool; or a trace",
    )
    .argument("<second>", "another one of the same kind")
    .option(
      "--weights <folder>",
      "model store, hub cache folder, hub, or demo: draw what the pictures' settings mean (RETAKE_WEIGHTS)",
    )
    .option("--lora <file...>", "files that the pictures' settings may name, beside the job's")
    .addOption(deviceOption())
    .option("--limit <seconds>", "begin no further picture after this time", parseNumber)
    .option("--no-draw", "compare what is written only")
    .option("--json", "print the result as JSON")
    .action((first: string, second: string, flags: CompareFlags) =>
      stoppable((signal) => compare(first, second, flags, signal)),
    );
  addStorageOptions(command);
}

async function compare(
  first: string,
  second: string,
  flags: CompareFlags,
  signal: AbortSignal,
): Promise<void> {
  const traces = [first, second].filter((path) => extname(path) === ".safetensors");
  if (traces.length === 1) {
    throw new InputError(
      `${traces[0]} is a trace and the other file is not: name two traces, or two pictures.`,
    );
  }
  if (traces.length === 2) {
    const compared = await compareTraces(first, second);
    print(flags, compared, () => traceText(compared));
    return;
  }
  const loras = (flags.lora ?? []).map(loraFileAt);
  const pictures = [
    await readComparedPicture(first, loras),
    await readComparedPicture(second, loras),
  ] as const;
  const canDraw = flags.draw && pictures.some(({ shots }) => shots.length > 0);
  await using renderer = canDraw ? await renderOptions(flags, signal) : null;
  const progress = startProgress("{bar} step {value}/{total}");
  try {
    const draw = async ({ model, rounding, request, meaning }: Shot) => {
      const { image } = await renderer!.render(model, rounding, request, {
        onStep: ({ step, total }) => progress.update(step, total),
        ...(meaning === undefined ? {} : { meaning }),
      });
      return image;
    };
    const compared = await comparePictures(...pictures, {
      draw: renderer === null ? null : draw,
      deadline: performance.now() + (flags.limit ?? Number.POSITIVE_INFINITY) * 1000,
    });
    progress.stop();
    print(flags, pictureJson(compared), () => pictureText(compared));
  } finally {
    progress.stop();
  }
}

async function renderOptions(flags: CompareFlags, signal: AbortSignal): Promise<Renderer> {
  const settings = readModelSettings({
    RETAKE_WEIGHTS: flags.weights,
    ...storageVariables(flags),
    DEVICE: flags.device,
  });
  const { weights, storage, cacheFolder, transformers } = settings;
  const device = await sayDevice(settings, signal);
  const saying = { onStart: sayPreparing, onStorage: sayStorage };
  return openRenderer({ weights, storage, cacheFolder, transformers, device, signal, ...saying });
}

function print({ json }: CompareFlags, result: unknown, text: () => string): void {
  process.stdout.write(json === true ? `${JSON.stringify(result, null, 2)}\n` : text());
}
