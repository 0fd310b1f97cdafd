import { existsSync } from "node:fs";
import { resolve } from "node:path";
import type { Settings } from "../config/settings.ts";
import { CanceledError, InputError } from "../errors.ts";
import { withoutPaths } from "../files/without-paths.ts";
import { pull } from "../hub/pull.ts";
import type { JobFailure } from "../job/job.ts";
import type { ModelDefinition } from "../models/registry.ts";
import { adaptersOf, modelById, repositoriesOf } from "../models/registry.ts";
import { TransferError } from "../net/errors.ts";
import type { ComponentReport } from "../pipeline/inspect.ts";
import { inspectModel } from "../pipeline/inspect.ts";
import { failWaiting } from "../queue/fail-waiting.ts";
import { waitingModels } from "../queue/preference.ts";
import type { Queue } from "../queue/queue.ts";
import type { WorkerLog } from "../worker/process.ts";
import { progressLog } from "./progress-log.ts";

/** How often a fetch asks whether a request still waits for it. */
const lookMilliseconds = 1000;

export interface FetchOptions {
  readonly queue: Queue;
  readonly log: WorkerLog;
  /** Ends all fetches; what came stays. */
  readonly stop: AbortSignal;
  /** Requests that waited for a model and failed because it can't be had. */
  readonly onFailed: (ids: readonly string[], model: string, failure: JobFailure) => void;
  readonly onError: (error: unknown) => void;
}

/** Which models are on this machine; a missing one is fetched while workers run other models' requests. */
export interface Models {
  /** Whether workers may take requests for the model; if not, it is being fetched. */
  isReady(model: string): Promise<boolean>;
  /** After the stop: waits until nothing is written any more. */
  ended(): Promise<void>;
}

type ModelSettings = Pick<Settings, "autoPull" | "weights" | "hub" | "network" | "transformers">;

/** With RETAKE_AUTO_PULL, models that are missing or were left incomplete are fetched when requests wait for them. */
export function openModels(settings: ModelSettings, options: FetchOptions): Models {
  // Offline the worker says what is missing, as it does without this setting.
  if (!settings.autoPull || settings.hub.offline)
    return { isReady: async () => true, ended: async () => {} };
  return new FetchedModels(settings, options);
}

class FetchedModels implements Models {
  readonly #settings: ModelSettings;
  readonly #options: FetchOptions;
  /** Weight files of models that were found whole: a look at headers costs more than one at names. */
  readonly #known = new Map<string, readonly string[]>();
  readonly #fetches = new Map<string, Promise<void>>();

  constructor(settings: ModelSettings, options: FetchOptions) {
    this.#settings = settings;
    this.#options = options;
  }

  async isReady(id: string): Promise<boolean> {
    if (this.#fetches.has(id)) return false;
    if (this.#known.get(id)?.every((file) => existsSync(file)) === true) return true;
    let model: ModelDefinition;
    try {
      model = modelById(id);
      if ((await this.#missing(model)).length === 0) return true;
    } catch (error) {
      // The worker says what is wrong; other models' requests run meanwhile.
      this.#options.onError(error);
      return true;
    }
    // Another worker may have looked at the same time.
    if (!this.#fetches.has(id) && !this.#options.stop.aborted) {
      const fetch = this.#fetch(model)
        .catch(this.#options.onError)
        .finally(() => this.#fetches.delete(id));
      this.#fetches.set(id, fetch);
    }
    return false;
  }

  async ended(): Promise<void> {
    await Promise.all(this.#fetches.values());
  }

  /** Folder of a transformer in whose place a file of the operator's stands. */
  #replaced({ id }: ModelDefinition): string | undefined {
    return this.#settings.transformers[id] === undefined ? undefined : "transformer";
  }

  /** What a fetch would bring. A damaged part is the worker's to describe: fetching again would not touch it. */
  async #missing(model: ModelDefinition): Promise<readonly ComponentReport[]> {
    const report = await inspectModel(this.#settings.weights, model);
    const replaced = this.#replaced(model);
    const components = report.components.filter(({ name }) => name !== replaced);
    const missing = components.filter(({ state }) => state === "missing" || state === "incomplete");
    if (missing.length === 0) {
      const spans = components.flatMap((component) => [...component.weights.values()]);
      this.#known.set(model.id, [...new Set(spans.map(({ file }) => file))]);
    }
    return missing;
  }

  /** One for all requests. It ends when none waits any more: the next goes on with what came. */
  async #fetch(model: ModelDefinition): Promise<void> {
    const { queue, log, stop, onFailed, onError } = this.#options;
    const unwanted = new AbortController();
    const look = async () => {
      const waiting = await waitingModels(queue.database);
      if (!waiting.some(({ model: id }) => id === model.id)) unwanted.abort();
    };
    const looking = setInterval(() => void look().catch(onError), lookMilliseconds);
    const fields = { model: model.id };
    try {
      log.info(fields, "fetching the model");
      await this.#pull(model, AbortSignal.any([stop, unwanted.signal]));
      const [missing] = await this.#missing(model);
      // Fetched again and again it would not become whole.
      if (missing !== undefined) throw new InputError(missing.problem ?? "it is not whole");
      log.info(fields, "fetched the model");
    } catch (error) {
      if (error instanceof CanceledError) {
        log.info(fields, "the fetch of the model was stopped");
        return;
      }
      log.warn({ ...fields, err: error }, "the model could not be fetched");
      const failure = this.#failureOf(error, model);
      onFailed(await failWaiting(queue, model.id, failure), model.id, failure);
    } finally {
      clearInterval(looking);
    }
  }

  async #pull(model: ModelDefinition, signal: AbortSignal): Promise<void> {
    const { log } = this.#options;
    const { weights, hub, network } = this.#settings;
    const fields = { model: model.id };
    const replaced = this.#replaced(model);
    const selections = repositoriesOf([model])
      .map((one) => ({
        ...one,
        folders: one.folders.filter((folder) => folder !== replaced),
        revision: "main",
      }))
      .filter(({ folders }) => folders.length > 0);
    const onProgress = progressLog(log, fields, "fetching the model");
    const onWait = () => log.info(fields, "another process fetches the model");
    const options = { weights, settings: hub, network, signal, onProgress, onWait };
    await pull(selections, options);
    try {
      await pull(
        adaptersOf([model]).map((one) => ({ ...one, revision: "main" })),
        options,
      );
    } catch (error) {
      if (error instanceof CanceledError) throw error;
      // Only requests that are rounded as in training miss it, and they say so.
      log.warn({ ...fields, err: error }, "the training adapter could not be fetched");
    }
  }

  /** A client is told the reason, not where this machine keeps things or whom it asks. */
  #failureOf(error: unknown, { id }: ModelDefinition): JobFailure {
    const { weights, hub } = this.#settings;
    const reason =
      error instanceof InputError || error instanceof TransferError
        ? withoutPaths(error.message, new Map([[resolve(weights), "the model store"]]))
            .replaceAll(weights, "the model store")
            .replaceAll(new URL(hub.endpoint).origin, "the hub")
        : "the server's log says why.";
    const message = `The model ${id} is not on this server and could not be fetched: ${reason}`;
    return { code: "MODEL_NOT_AVAILABLE", message, promptIndex: null, images: [] };
  }
}
