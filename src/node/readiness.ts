import { existsSync } from "node:fs";
import { access, constants, stat } from "node:fs/promises";
import type { Device } from "../config/model-options.ts";
import type { Settings } from "../config/settings.ts";
import { messageOf } from "../errors.ts";
import { models } from "../models/registry.ts";
import { probeDevice } from "../onnx/probe-device.ts";
import { inspectModel } from "../pipeline/inspect.ts";
import type { Database } from "../queue/database.ts";
import type { WorkerLog } from "../worker/process.ts";

/** Something that keeps a node from serving. */
export interface NotReady {
  readonly code:
    | "QUEUE_NOT_REACHABLE"
    | "DEVICE_NOT_AVAILABLE"
    | "MODEL_NOT_AVAILABLE"
    | "LORA_FOLDER_NOT_AVAILABLE";
  /** For everybody who asks: no path of this machine, and no address. */
  readonly message: string;
  /** For the operator. */
  readonly detail: string;
}

/** Looks again at most so often: looking costs, and strangers may ask. */
const lookMilliseconds = 10_000;

type ReadinessSettings = Pick<
  Settings,
  "loraFolder" | "weights" | "transformers" | "autoPull" | "hub"
>;

interface NodeState {
  /** Of its workers. */
  readonly devices: readonly Device[];
  readonly database: Database;
  readonly log: WorkerLog;
  /** Ends what looks. */
  readonly stop: AbortSignal;
}

/**
 * What keeps this node from serving, looked at now and whenever somebody asks. What is new is
 * logged.
 */
export function watchReadiness(
  settings: ReadinessSettings,
  { devices, database, log, stop }: NodeState,
): () => Promise<readonly NotReady[]> {
  const look = lookAtMachine(settings, devices, stop);
  let looked: { readonly at: number; readonly found: Promise<readonly NotReady[]> } | undefined;
  let logged = "";
  const ask = async () => {
    const now = performance.now();
    if (looked === undefined || now - looked.at > lookMilliseconds)
      looked = { at: now, found: look() };
    const reasons = [...(await queueProblem(database)), ...(await looked.found)];
    const said = reasons.map(({ detail }) => detail).join("\n");
    if (said !== logged && !stop.aborted) {
      for (const { code, detail } of reasons) log.warn({ code }, `not ready: ${detail}`);
      if (said === "") log.info({}, "ready again");
      logged = said;
    }
    return reasons;
  };
  ask().catch((error: unknown) => log.warn({ err: error }, "readiness is not known"));
  return ask;
}

async function queueProblem(database: Database): Promise<NotReady[]> {
  try {
    await database.query("SELECT 1");
    return [];
  } catch (error) {
    const message = "The queue can't be reached.";
    return [{ code: "QUEUE_NOT_REACHABLE", message, detail: `${message} ${messageOf(error)}` }];
  }
}

function lookAtMachine(
  settings: ReadinessSettings,
  devices: readonly Device[],
  stop: AbortSignal,
): () => Promise<readonly NotReady[]> {
  // This process has loaded the runtime already, and with it the CPU's part.
  const probed = new Set(devices.filter((device) => device !== "cpu"));
  const modelsProblem = lookAtModels(settings, devices);
  return async () => {
    const reasons = [...(await loraFolderProblem(settings)), ...(await modelsProblem())];
    for (const device of probed) {
      const { problem } = await probeDevice(device, { signal: stop });
      // It worked once: what happens to it later, its worker says.
      if (problem === null) probed.delete(device);
      else
        reasons.push({
          code: "DEVICE_NOT_AVAILABLE",
          message: `The device ${device} can't be used.`,
          detail: `DEVICE: ${device} can't be used: ${problem}`,
        });
    }
    return reasons;
  };
}

async function loraFolderProblem({ loraFolder }: ReadinessSettings): Promise<NotReady[]> {
  try {
    if (!(await stat(loraFolder)).isDirectory()) throw new Error("it is not a folder");
    await access(loraFolder, constants.R_OK | constants.X_OK);
    return [];
  } catch (error) {
    return [
      {
        code: "LORA_FOLDER_NOT_AVAILABLE",
        message: "The folder of LoRAs (WORKFLOWS_BASE_PATH) can't be used.",
        detail: `WORKFLOWS_BASE_PATH: ${loraFolder} can't be used: ${messageOf(error)}. Make the folder, or name another.`,
      },
    ];
  }
}

/** One model that can run is enough; without workers, or where missing ones are fetched, none is needed. */
function lookAtModels(
  { weights, transformers, autoPull, hub }: ReadinessSettings,
  devices: readonly Device[],
): () => Promise<NotReady[]> {
  if (devices.length === 0 || (autoPull && !hub.offline)) return async () => [];
  /** Files of a model that was found whole: to look for them costs less than to read headers. */
  let whole: readonly string[] | undefined;
  return async () => {
    if (whole?.every((file) => existsSync(file)) === true) return [];
    const faults: { readonly part: string; readonly problem: string }[] = [];
    for (const model of models) {
      const own = transformers[model.id];
      const report = await inspectModel(weights, model);
      const parts = report.components.filter(
        ({ name }) => own === undefined || name !== "transformer",
      );
      const bad = parts.filter(({ state }) => state !== "there");
      if (own !== undefined && !existsSync(own)) {
        const problem = `RETAKE_TRANSFORMERS: ${own} is not there.`;
        faults.push({ part: `${model.id} transformer is missing`, problem });
      } else if (bad.length === 0) {
        const spans = parts.flatMap(({ weights: tensors }) => [...tensors.values()]);
        whole = [...new Set(spans.map(({ file }) => file))];
        return [];
      }
      for (const { name, state, problem } of bad)
        faults.push({ part: `${model.id} ${name} is ${state}`, problem: problem ?? "" });
    }
    const problems = [...new Set(faults.map(({ problem }) => problem))];
    return [
      {
        code: "MODEL_NOT_AVAILABLE",
        message: `No model can run: ${faults.map(({ part }) => part).join(", ")}.`,
        detail: `RETAKE_WEIGHTS: no model can run. ${problems.join(" ")}`,
      },
    ];
  };
}
