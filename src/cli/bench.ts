import { availableParallelism, cpus, totalmem } from "node:os";
import type { Command } from "commander";
import { InvalidArgumentError } from "commander";
import { env } from "onnxruntime-node";
import type { DeviceChoice, Storage } from "../config/model-options.ts";
import type { ModelSettings } from "../config/settings.ts";
import { bounds } from "../job/request.ts";
import { modelById, models } from "../models/registry.ts";
import { chooseDevice } from "../onnx/choose-device.ts";
import type { StorageChoice } from "../pipeline/choose-storage.ts";
import type { Difference } from "../pipeline/measure.ts";
import { differenceOf, measuredProfile, measurePicture, ownBytes } from "../pipeline/measure.ts";
import type { OpenOptions, OpenPipeline } from "../pipeline/open.ts";
import { openPipeline } from "../pipeline/open.ts";
import { randomStoreModel, realLayers } from "../pipeline/random-store.ts";
import { version } from "../version.ts";
import type { BenchReport, SizeFigures } from "./bench-report.ts";
import { benchText, wireForm } from "./bench-report.ts";
import type { WeightFlags } from "./bench-weights.ts";
import { layersOfRandom, withRandomStore } from "./bench-weights.ts";
import { deviceOption, sayDevice } from "./device.ts";
import { parseNumber } from "./options.ts";
import { sayPreparing } from "./preparing.ts";
import { startProgress } from "./progress.ts";
import { readModelSettings } from "./settings.ts";
import { stoppable } from "./stop-signal.ts";
import type { StorageFlags } from "./storage-flags.ts";
import { addStorageOptions, sayStorage, storageVariables } from "./storage-flags.ts";

interface BenchFlags extends StorageFlags, WeightFlags {
  readonly device?: DeviceChoice;
  readonly size: readonly number[];
  readonly steps: number;
  readonly guidance: number;
  readonly json?: boolean;
}

/** What is drawn twice to find how far a device's numbers are from the CPU's. */
const tinyPicture = { size: 256, steps: 2, guidance: 1 };

export function addBenchCommand(program: Command): void {
  const { steps, pixels, guidanceScale } = bounds;
  const size = wholeNumber(pixels.ge, pixels.le, measuredProfile.divisor);
  const command = program
    .command("bench")
    .description("measure how fast a device draws, and how far its numbers are from the CPU's")
    .option("--model <id>", `one of ${models.map(({ id }) => id).join(", ")}`, randomStoreModel)
    .option("--weights <folder>", "model store, hub cache folder, hub, or demo (RETAKE_WEIGHTS)")
    .option("--transformer <file>", "take the transformer from this .safetensors or .gguf file")
    .addOption(deviceOption())
    .option(
      "--size <pixels>",
      "sides of the pictures",
      (text) => text.split(",").map(size),
      [512, 1024],
    )
    .option("--steps <count>", "steps of each picture", wholeNumber(2, steps.le), 4)
    .option(
      "--guidance <weight>",
      "above 0 each step computes two captions",
      numberIn(guidanceScale.ge, guidanceScale.le),
      0,
    )
    .option("--random", "random weights of the real shape: what is measured if none are named")
    .option(
      "--layers <count>",
      `random weights with fewer than the real ${realLayers} layers; the time of all is extrapolated`,
      wholeNumber(1, realLayers),
    )
    .option("--keep", "leave the random weights in the cache folder for the next time")
    .option("--json", "print the line of JSON alone")
    .action((flags: BenchFlags) => stoppable((signal) => runBench(flags, signal)));
  addStorageOptions(command);
}

function numberIn(least: number, most: number, kind = "number"): (text: string) => number {
  return (text) => {
    const value = parseNumber(text);
    if (value < least || value > most)
      throw new InvalidArgumentError(`"${text}" is not a ${kind} from ${least} to ${most}.`);
    return value;
  };
}

/** @param divisor what it has to be a multiple of */
function wholeNumber(least: number, most: number, divisor = 1): (text: string) => number {
  const kind = divisor === 1 ? "whole number" : `multiple of ${divisor}`;
  const inBounds = numberIn(least, most, kind);
  return (text) => {
    const value = inBounds(text);
    if (value % divisor !== 0)
      throw new InvalidArgumentError(`"${text}" is not a ${kind} from ${least} to ${most}.`);
    return value;
  };
}

async function runBench(flags: BenchFlags, signal: AbortSignal): Promise<void> {
  const given = readModelSettings({
    RETAKE_WEIGHTS: flags.weights,
    ...storageVariables(flags),
    DEVICE: flags.device,
  });
  modelById(flags.model);
  const layers = layersOfRandom(flags, given.weights);
  // Before random weights are made: that takes minutes.
  const settings = { ...given, devices: [await sayDevice(given, signal)] };
  const report =
    layers === null
      ? await measure(flags, settings, signal, null)
      : await withRandomStore(
          settings.cacheFolder,
          { layers, keep: flags.keep === true },
          signal,
          (weights, cacheFolder, lockedSignal) =>
            measure(flags, { ...settings, weights, cacheFolder }, lockedSignal, layers),
        );
  const json = `${JSON.stringify(wireForm(report))}\n`;
  process.stdout.write(flags.json === true ? json : benchText(report) + json);
}

async function measure(
  flags: BenchFlags,
  settings: ModelSettings,
  signal: AbortSignal,
  randomLayers: number | null,
): Promise<BenchReport> {
  const { model, steps, guidance } = flags;
  const startedAt = performance.now();
  const transformer =
    randomLayers === null ? (flags.transformer ?? settings.transformers[model]) : undefined;
  await using pipeline = await openPipeline({
    ...openOptions(settings, signal),
    model,
    weights: settings.weights,
    storage: settings.storage,
    onStorage: sayStorage,
    ...(transformer === undefined ? {} : { transformer }),
  });
  const openSeconds = (performance.now() - startedAt) / 1000;
  const sizes: SizeFigures[] = [];
  let own = 0;
  const progress = startProgress("{bar} step {value}/{total}, {eta_formatted} left");
  try {
    for (const [i, size] of flags.size.entries()) {
      const onStep = (step: number) => {
        own = Math.max(own, ownBytes() ?? 0);
        progress.update(i * steps + step, flags.size.length * steps);
      };
      const request = { size, steps, guidance, signal, onStep };
      sizes.push({ size, ...(await measurePicture(pipeline, request)) });
    }
  } finally {
    progress.stop();
  }
  return {
    versions: { retake: version, onnxruntime: env.versions.node ?? env.versions.common },
    machine: {
      system: `${process.platform} ${process.arch}`,
      node: process.versions.node,
      processor: cpus()[0]?.model.trim() ?? "unknown",
      cores: availableParallelism(),
      memoryBytes: totalmem(),
    },
    device: pipeline.storage.device,
    card: (await chooseDevice(pipeline.storage.device)).facts,
    model,
    randomLayers,
    weightBytes: pipeline.weightBytes,
    storage: pipeline.storage.storage,
    steps,
    guidance,
    openSeconds,
    sizes,
    memory: {
      peakBytes: process.resourceUsage().maxRSS * 1024,
      ownBytes: own === 0 ? null : own,
    },
    difference: await differenceFromCpu(pipeline, settings, signal),
  };
}

/** Of the demonstration model; null where it would be the CPU against itself. */
async function differenceFromCpu(
  { storage }: OpenPipeline,
  settings: ModelSettings,
  signal: AbortSignal,
): Promise<(Difference & { readonly storage: string }) | null> {
  const held = storageToCompare(storage);
  if (held === null) return null;
  const demo = { ...openOptions(settings, signal), model: randomStoreModel, weights: "demo" };
  await using reference = await openPipeline({ ...demo, device: "cpu", storage: "original" });
  await using device = await openPipeline({ ...demo, device: storage.device, storage: held });
  return {
    storage: held,
    ...(await differenceOf(device, reference, { ...tinyPicture, signal })),
  };
}

/** On a CPU what the storage costs; elsewhere one that changes no value, so that the device's arithmetic shows alone. */
function storageToCompare({ device, storage }: StorageChoice): Storage | null {
  if (device === "cpu") return storage === "original" ? null : storage;
  return device === "cuda" ? "original" : "f32";
}

function openOptions(
  { cacheFolder, devices: [device = "cpu"] }: ModelSettings,
  signal: AbortSignal,
): Pick<OpenOptions, "cacheFolder" | "device" | "keepOpen" | "signal" | "onStart"> {
  return { cacheFolder, device, keepOpen: false, signal, onStart: sayPreparing };
}
