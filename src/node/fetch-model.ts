import { existsSync } from "node:fs";
import { resolve } from "node:path";
import type { Settings } from "../config/settings.ts";
import { InputError } from "../errors.ts";
import { pull } from "../hub/pull.ts";
import type { Job } from "../job/job.ts";
import { JobError } from "../job/job.ts";
import { modelById } from "../models/registry.ts";
import { repositoriesOf } from "../models/repositories.ts";
import { TransferError } from "../net/errors.ts";
import { inspectModel } from "../pipeline/inspect.ts";
import type { WorkerLog } from "../worker/process.ts";

const logMilliseconds = 10_000;

/** Sees to it that a job's model is on this machine. @throws JobError if it can't be fetched */
export type FetchModel = (job: Job, signal: AbortSignal) => Promise<void>;

/**
 * With RETAKE_AUTO_PULL, fetches models that are missing or were left
 * incomplete. Workers, and other processes with the same store, wait for the
 * one that fetches.
 */
export function modelFetcher(
  {
    autoPull,
    weights,
    hub,
    transformers,
  }: Pick<Settings, "autoPull" | "weights" | "hub" | "transformers">,
  log: WorkerLog,
): FetchModel {
  // Offline the worker says what is missing, as it does without this setting.
  if (!autoPull || hub.offline) return async () => {};
  /** Weight files of models that were found whole: a look at headers costs more than one at names. */
  const known = new Map<string, readonly string[]>();
  return async ({ id, model: modelId }, signal) => {
    const files = known.get(modelId);
    if (files?.every((file) => existsSync(file)) === true) return;
    const model = modelById(modelId);
    // A file of the operator's stands in its place.
    const ownTransformer = transformers[modelId] === undefined ? undefined : "transformer";
    const isThere = async () => {
      const report = await inspectModel(weights, model);
      const components = report.components.filter(({ name }) => name !== ownTransformer);
      // What is damaged is the worker's to describe: fetching again would not touch it.
      if (components.some(({ state }) => state === "missing" || state === "incomplete"))
        return false;
      const spans = components.flatMap((component) => [...component.weights.values()]);
      known.set(modelId, [...new Set(spans.map(({ file }) => file))]);
      return true;
    };
    if (await isThere()) return;
    log.info({ request_id: id, model: modelId }, "fetching the model");
    const fields = { request_id: id, model: modelId };
    let lastLine = performance.now();
    const onProgress = (progress: object) => {
      const now = performance.now();
      if (now - lastLine < logMilliseconds) return;
      lastLine = now;
      log.info({ ...fields, ...progress }, "fetching the model");
    };
    const onWait = () => log.info(fields, "another process fetches the model");
    const selections = repositoriesOf([model])
      .map((one) => ({
        ...one,
        folders: one.folders.filter((folder) => folder !== ownTransformer),
        revision: "main",
      }))
      .filter(({ folders }) => folders.length > 0);
    try {
      await pull(selections, { weights, settings: hub, signal, onProgress, onWait });
    } catch (error) {
      if (!(error instanceof InputError || error instanceof TransferError)) throw error;
      log.warn({ ...fields, err: error }, "the model could not be fetched");
      // A client is told the reason, not where this machine keeps things or whom it asks.
      const reason = error.message
        .replaceAll(resolve(weights), "the model store")
        .replaceAll(weights, "the model store")
        .replaceAll(new URL(hub.endpoint).origin, "the hub");
      const message = `The model ${modelId} is not on this server and could not be fetched: ${reason}`;
      const failure = { code: "MODEL_NOT_AVAILABLE", message, promptIndex: null, images: [] };
      throw new JobError(failure, false, { cause: error });
    }
    await isThere();
    log.info(fields, "fetched the model");
  };
}
