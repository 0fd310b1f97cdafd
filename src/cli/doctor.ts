import { join } from "node:path";
import type { Command } from "commander";
import type { Settings } from "../config/settings.ts";
import { InputError } from "../errors.ts";
import { sizeText } from "../files/space.ts";
import { verifyFiles } from "../hub/cache-layout.ts";
import type { ModelDefinition } from "../models/registry.ts";
import { modelById, models } from "../models/registry.ts";
import { openComponents } from "../pipeline/components.ts";
import { type ComponentReport, inspectModel } from "../pipeline/inspect.ts";
import { type MemoryFit, type MemoryNeed, memoryFit, memoryNeed } from "../pipeline/memory-need.ts";
import { findNonFinite } from "../weights/nonfinite.ts";
import { deviceJson, deviceLines } from "./device-lines.ts";
import { inspectMachine, type Machine } from "./machine.ts";
import { readSettings, readStoreSettings } from "./settings.ts";
import type { DeviceStorage } from "./storage-lines.ts";
import { deviceStorages, storageJson, storageLine } from "./storage-lines.ts";

interface DoctorFlags {
  readonly weights?: string;
  readonly deep?: boolean;
  readonly json?: boolean;
}

/** What there is to say of one model. */
interface Diagnosis {
  readonly model: string;
  readonly canRun: boolean;
  readonly components: readonly ComponentReport[];
  /** null until all parts are there. */
  readonly memory: (MemoryNeed & { readonly fit: MemoryFit }) | null;
  /** How each device but the CPU would hold its weights. */
  readonly storages: readonly DeviceStorage[];
  /** Why parts that are well by themselves can't run together. */
  readonly problem: string | null;
}

export function addDoctorCommand(program: Command): void {
  program
    .command("doctor")
    .description("say whether models can run here, and what is in the way")
    .argument("[models...]", `some of ${models.map(({ id }) => id).join(", ")}; all without a name`)
    .option("--weights <folder>", "model store, hub cache folder, hub, or demo (RETAKE_WEIGHTS)")
    .option(
      "--deep",
      "read every file from end to end: hashes where the hub cache has them, else NaN",
    )
    .option("--json", "print JSON")
    .action(runDoctor);
}

/** Exit code 0 if the models that were asked for can run; without a name, if one can. */
async function runDoctor(ids: string[], flags: DoctorFlags): Promise<void> {
  const asked = ids.length === 0 ? models : ids.map(modelById);
  const settings = readStoreSettings({ RETAKE_WEIGHTS: flags.weights });
  const server = serverSettings(flags);
  const machine = await inspectMachine(settings, server);
  const verified = new Map<string, Promise<string | null>>();
  const diagnoses: Diagnosis[] = [];
  for (const model of asked) {
    const { components } = await inspectModel(settings.weights, model);
    const checked = flags.deep === true ? await readThrough(components, verified) : components;
    diagnoses.push(await diagnose(model, checked, settings.weights, machine, server));
  }
  const can = diagnoses.filter(({ canRun }) => canRun).length;
  process.exitCode = can === asked.length || (ids.length === 0 && can > 0) ? 0 : 2;
  process.stdout.write(
    flags.json === true
      ? `${JSON.stringify(wireForm(settings.weights, diagnoses, machine), null, 2)}\n`
      : diagnoses.map(modelText).join("") + machineText(settings.weights, machine),
  );
}

/** What is wrong with the server's settings is for the report: pictures can be made without a server. */
function serverSettings({ weights }: DoctorFlags): Settings | InputError {
  try {
    return readSettings({ RETAKE_WEIGHTS: weights });
  } catch (error) {
    if (error instanceof InputError) return error;
    throw error;
  }
}

async function diagnose(
  model: ModelDefinition,
  components: readonly ComponentReport[],
  weights: string,
  { availableBytes, devices }: Machine,
  server: Settings | InputError,
): Promise<Diagnosis> {
  const none = { memory: null, storages: [], problem: null };
  const unknown = { model: model.id, canRun: false, components, ...none };
  if (!components.every(({ state }) => state === "there")) return unknown;
  try {
    const opened = await openComponents(weights, model);
    const asked = server instanceof InputError ? "auto" : server.storage;
    const need = memoryNeed(opened, asked);
    const fit = memoryFit(need, availableBytes);
    const memory = { ...need, fit };
    const storages = deviceStorages(opened, devices, server);
    return { ...unknown, canRun: fit !== "too little", memory, storages };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return { ...unknown, problem: error.message };
  }
}

/** The reports after every byte was read; what several models share is read once. */
async function readThrough(
  components: readonly ComponentReport[],
  verified: Map<string, Promise<string | null>>,
): Promise<ComponentReport[]> {
  return await Promise.all(
    components.map(async (component) => {
      const { folder, name, state } = component;
      if (state !== "there" || folder === undefined) return component;
      const place = join(folder, name);
      const reading = verified.get(place) ?? faultIn(place, component);
      verified.set(place, reading);
      const problem = await reading;
      return problem === null ? component : { ...component, state: "damaged" as const, problem };
    }),
  );
}

async function faultIn(place: string, { weights }: ComponentReport): Promise<string | null> {
  const { damaged, unnamed } = await verifyFiles(place);
  const [bad] = damaged;
  if (bad !== undefined) {
    return `${bad.file} holds other bytes than it should have (${bad.found}). Delete ${bad.blob} and pull again.`;
  }
  if (unnamed.length === 0) return null;
  const found = await findNonFinite(weights);
  if (found === undefined) return null;
  return `${found.file} is damaged: tensor ${found.name} holds NaN or infinity at element ${found.index}. Fetch the file again.`;
}

const advice: Record<MemoryFit, string> = {
  fits: "fits",
  "one network at a time":
    "fits, one network at a time: the others are read from disk again for each picture. Give the server OFFLOAD_MODE=model",
  slow: "runs slowly: its largest network does not fit, and is read from disk in every step. Free memory, or use a machine with more",
  "too little":
    "does not fit. Free memory, ask for smaller pictures (512x512 needs a quarter to work with), or use a machine with more",
};

function modelText({ model, canRun, components, memory, storages, problem }: Diagnosis): string {
  const parts = components.map(({ name, state, bytes, repository }) => {
    const size = bytes === 0 ? "" : sizeText(bytes);
    return `  ${name.padEnd(13)} ${state.padEnd(11)} ${size.padEnd(9)} ${repository}\n`;
  });
  const problems = [...components.map((component) => component.problem), problem];
  // A repository that is not there is one problem, not one for each part.
  const distinct = new Set(problems.filter((text) => text !== null));
  const need =
    memory === null
      ? ""
      : `  memory        ${sizeText(memory.weightBytes)} of weights, ${sizeText(memory.workingBytes)} to work with at 1024x1024: ${advice[memory.fit]}\n`;
  return [
    `${model}: ${canRun ? "can run" : "can't run"}\n`,
    ...parts,
    ...[...distinct].map((text) => `  ${text}\n`),
    need,
    ...storages.map(storageLine),
  ].join("");
}

function machineText(weights: string, machine: Machine): string {
  const { memoryBytes, availableBytes, diskFreeBytes, folders, settingsProblem } = machine;
  const folderLines = folders.map(
    ({ setting, path, writable }) =>
      `  folder        ${setting} ${path}: ${writable ? "can be written to" : "can't be written to; give this user access, or set another"}\n`,
  );
  return (
    `this machine\n` +
    `  memory        ${sizeText(memoryBytes)}, ${sizeText(availableBytes)} available\n` +
    `  disk          ${sizeText(diskFreeBytes)} free at ${weights}\n` +
    `  hub           ${machine.hub.endpoint}, ${machine.hub.hasToken ? "with a token" : "without a token"}${machine.hub.offline ? ", offline" : ""}\n` +
    `  versions      Node ${machine.node}, ONNX Runtime ${machine.onnxruntime}\n` +
    deviceLines(machine) +
    folderLines.join("") +
    (settingsProblem === null ? "" : `  settings      ${settingsProblem}\n`)
  );
}

function wireForm(weights: string, diagnoses: readonly Diagnosis[], machine: Machine) {
  return {
    weights,
    models: diagnoses.map(({ model, canRun, components, memory, storages, problem: together }) => ({
      model,
      can_run: canRun,
      problem: together,
      components: components.map(({ name, repository, state, bytes, problem }) => ({
        name,
        repository,
        state,
        bytes,
        problem,
      })),
      memory:
        memory === null
          ? null
          : {
              fit: memory.fit,
              weight_bytes: memory.weightBytes,
              largest_bytes: memory.largestBytes,
              working_bytes: memory.workingBytes,
            },
      storages: storages.map(storageJson),
    })),
    machine: {
      node: machine.node,
      onnxruntime: machine.onnxruntime,
      memory_bytes: machine.memoryBytes,
      available_bytes: machine.availableBytes,
      disk_free_bytes: machine.diskFreeBytes,
      hub: {
        endpoint: machine.hub.endpoint,
        has_token: machine.hub.hasToken,
        offline: machine.hub.offline,
      },
      device: machine.automatic,
      devices: deviceJson(machine),
      settings_problem: machine.settingsProblem,
      folders: machine.folders,
    },
  };
}
