import { hostname, totalmem } from "node:os";
import type { Settings } from "../config/settings.ts";
import { JobError } from "../job/job.ts";
import { makeCacheFolder } from "../lora-files/cache.ts";
import { openUploads } from "../lora-files/open-uploads.ts";
import { openEmbedded, openPostgres } from "../queue/database.ts";
import { JobUploads } from "../queue/job-uploads.ts";
import { Queue } from "../queue/queue.ts";
import type { RequestRecord } from "../queue/record.ts";
import { TokenSeal } from "../queue/token-seal.ts";
import { UploadContents } from "../queue/upload-contents.ts";
import { Uploads } from "../queue/upload-records.ts";
import { openResults } from "../storage/open-results.ts";
import type { ResultStore } from "../storage/results.ts";
import type { WorkerLog } from "../worker/process.ts";
import { WorkerSlot } from "../worker/slot.ts";
import type { Models } from "./fetch-model.ts";
import { openModels } from "./fetch-model.ts";
import { findFiles } from "./find-files.ts";
import { modelStorages } from "./model-storages.ts";
import { type NodeDevice, nodeDevices } from "./node-devices.ts";
import type { NotReady } from "./readiness.ts";
import { watchReadiness } from "./readiness.ts";
import { forgetOld } from "./retention.ts";
import type { RunningWorkers, RunObserver } from "./run-workers.ts";
import { runWorkers } from "./run-workers.ts";

/** The part of memory that weights may take; the rest is for activations and the system. */
const memoryShare = 0.8;
const retentionMilliseconds = 600_000;
/** An uploaded job folder that no request uses. */
const unusedMilliseconds = 24 * 3_600_000;
/** Another node may be receiving an upload: it writes to it at least every half minute. */
const stagedMilliseconds = 600_000;
/** Another node may be keeping an upload: none takes so long. */
const pendingMilliseconds = 6 * 3_600_000;

export interface NodeLog extends WorkerLog {
  readonly error: (fields: object, message: string) => void;
}

/** One machine's share of the work: the queue, and workers that take from it. */
export interface WorkNode {
  readonly queue: Queue;
  readonly results: ResultStore;
  readonly uploads: Uploads;
  readonly jobUploads: JobUploads;
  readonly seal: TokenSeal;
  /** What its workers compute on, one each. */
  readonly devices: readonly NodeDevice[];
  /** How they hold a model's weights. */
  readonly storagesOf: ReturnType<typeof modelStorages>;
  /** What keeps it from serving, as of now. */
  notReady(): Promise<readonly NotReady[]>;
  /** Starts the workers; without it this machine only answers requests. */
  startWorkers(observer: RunObserver): void;
  /** Takes no new request from now on; running ones get the time to finish, then go back into the queue. */
  stopWorkers(graceMilliseconds: number): Promise<void>;
  /** Closes the queue; workers are stopped at once if they weren't before. */
  close(): Promise<void>;
}

/**
 * @param stop from then on no request is taken, whatever the node is about
 * @throws InputError if a setting can't be used
 */
export async function openNode(
  settings: Settings,
  log: NodeLog,
  stop: AbortSignal,
): Promise<WorkNode> {
  await makeCacheFolder(settings.loraSource.cacheDir);
  const devices = await nodeDevices(settings.devices, log);
  const results = await openResults(settings.outputFolder);
  const onError = (error: unknown) => log.error({ err: error }, "the queue had an error");
  const database =
    settings.databaseUrl === undefined
      ? await openEmbedded(settings.dataFolder)
      : await openPostgres(settings.databaseUrl, onError);
  // An embedded queue is this process's alone, so what is unfinished was left by an earlier one.
  const alone = database.backend === "pglite";
  let queue: Queue;
  let contents: UploadContents;
  try {
    const store = await openUploads(settings, alone ? 0 : stagedMilliseconds);
    queue = await Queue.open(database, { maxQueued: settings.maxQueued, onError });
    contents = new UploadContents(database, store, settings.uploads.bytes);
    await contents.sweep(new Date(Date.now() - (alone ? 0 : pendingMilliseconds)));
  } catch (error) {
    await database.close();
    throw error;
  }
  const uploads = new Uploads(database, contents);
  const jobUploads = new JobUploads(database, contents);
  const seal = new TokenSeal(settings.secret);
  const stopping = new AbortController();
  let running: RunningWorkers | undefined;
  let models: Models | undefined;
  const stopWorkers = async (graceMilliseconds: number) => {
    stopping.abort();
    await running?.end(graceMilliseconds);
    await models?.ended();
  };
  const retention = setInterval(() => {
    forgetOld(settings.retentionDays, { queue, results, onError }).catch(onError);
    jobUploads.forgetUnused(new Date(Date.now() - unusedMilliseconds)).catch(onError);
  }, retentionMilliseconds);
  const untilStop = AbortSignal.any([stop, stopping.signal]);
  return {
    queue,
    results,
    uploads,
    jobUploads,
    seal,
    notReady: watchReadiness(settings, {
      devices: devices.map(({ name }) => name),
      database,
      log,
      stop: untilStop,
    }),
    devices,
    storagesOf: modelStorages(settings, devices),
    startWorkers(observer) {
      const memoryBudget = Math.floor((totalmem() * memoryShare) / devices.length);
      const workers = devices.map(({ name: device, reason: deviceReason }) => {
        const { weights, transformers, storage, cacheFolder, outputFolder, keepOpen } = settings;
        const { pixelSteps } = settings.limits;
        const own = { device, deviceReason, outputFolder, keepOpen, memoryBudget, pixelSteps };
        return new WorkerSlot({ ...own, weights, transformers, storage, cacheFolder }, log);
      });
      const fetched = openModels(settings, {
        queue,
        log,
        stop: untilStop,
        onFailed: observer.unavailable,
        onError,
      });
      models = fetched;
      running = runWorkers(queue, {
        node: `${hostname()}/${process.pid}`,
        workers,
        timeoutSeconds: settings.timeoutSeconds,
        isReady: (model) => fetched.isReady(model),
        findFiles: (record, signal) =>
          findFiles(record, signal, { settings, uploads, jobUploads, seal, log }),
        check: refuseHighResolution,
        observer,
        stop: untilStop,
        onError,
      });
    },
    stopWorkers,
    async close() {
      clearInterval(retention);
      await stopWorkers(0);
      await queue.close();
      await database.close();
    },
  };
}

/** As in the reference, where only another model has it: the request is taken and fails. */
function refuseHighResolution({ extra, job }: RequestRecord): void {
  if (extra.resolution !== "High") return;
  const message = `resolution 'High' is for other models; ${job.model} takes width and height.`;
  throw new JobError({ code: "INVALID_INPUT", message, promptIndex: null, images: [] }, false);
}
