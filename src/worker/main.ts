import { realpath } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";
import { messageOf } from "../errors.ts";
import { withoutPaths } from "../files/without-paths.ts";
import type { Job, JobFailure } from "../job/job.ts";
import { JobError } from "../job/job.ts";
import { openResults } from "../storage/open-results.ts";
import type { ResultStore } from "../storage/results.ts";
import type { Execution } from "./execute.ts";
import { execute } from "./execute.ts";
import { executeRetake } from "./execute-retake.ts";
import type { FromWorker, ToWorker, WorkerOptions } from "./messages.ts";
import { toWorkerSchema } from "./messages.ts";
import { Pipelines } from "./pipelines.ts";

// A process of its own that holds the networks: it may be killed at any time.

let pipelines: Pipelines;
let results: ResultStore;
let weights: string;
let transformers: readonly string[];
let cacheFolder: string;
let outputFolder: string;
let pixelSteps: number;
let running: AbortController | undefined;

process.on("message", (message) => {
  handle(toWorkerSchema.parse(message)).catch((error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.stack : error}\n`);
    process.exit(1);
  });
});
// Without a server there is nobody to work for. Its signals (Ctrl-C reaches the whole group) are its own business.
process.on("disconnect", () => process.exit(0));
process.on("SIGINT", () => {});
process.on("SIGTERM", () => {});

async function handle(message: ToWorker): Promise<void> {
  if (message.type === "start") await start(message.options);
  else if (message.type === "cancel") running?.abort();
  else await run(message);
}

async function start(options: WorkerOptions): Promise<void> {
  weights = options.weights;
  // Absolute, as messages are searched for their folders: that of a relative path may be a single dot.
  const files = Object.entries(options.transformers).map(
    ([model, file]) => [model, resolve(file)] as const,
  );
  transformers = files.map(([, file]) => file);
  cacheFolder = options.cacheFolder;
  const { outputFolder: folder, pixelSteps: most, ...own } = options;
  pixelSteps = most;
  outputFolder = folder;
  pipelines = new Pipelines({
    ...own,
    transformers: Object.fromEntries(files),
    log: (fields, message) => send({ type: "log", level: "info", fields, message }),
  });
  results = await openResults(outputFolder);
  send({ type: "ready" });
}

async function run({ job, paths }: Extract<ToWorker, { type: "run" }>): Promise<void> {
  running = new AbortController();
  try {
    const execution: Execution = {
      pipelines,
      results,
      paths,
      pixelSteps,
      pathNames: await pathNames(job, paths),
      signal: running.signal,
      onEvent: (event) => send({ type: "event", event }),
      onStage: (stage) => send({ type: "stage", stage }),
      log: (error, text) => {
        const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
        send({
          type: "log",
          level: "warn",
          fields: { request_id: job.id, error: what },
          message: text,
        });
      },
    };
    const result = await (job.kind === "pictures"
      ? execute(job, execution)
      : executeRetake(job, execution));
    send({ type: "result", result });
  } catch (error) {
    send({ type: "failure", failure: failureOf(error) });
  } finally {
    running = undefined;
  }
}

/** Paths of this machine that a client knows by another name; of any other it sees the last part alone. */
async function pathNames(job: Job, paths: readonly string[]): Promise<Map<string, string>> {
  const names = new Map<string, string>();
  for (const [i, path] of paths.entries()) names.set(path, nameOf(job, i));
  names.set(cacheFolder, "the cache");
  names.set(resolve(outputFolder), "the results");
  for (const file of transformers) {
    const real = await realpath(file).catch(() => file);
    for (const path of [file, real]) names.set(path, basename(path));
    for (const folder of [dirname(file), dirname(real)]) {
      if (folder !== dirname(folder)) names.set(folder, "the transformer's folder");
    }
  }
  if (weights !== "demo") names.set(resolve(weights), "the model store");
  return names;
}

function nameOf(job: Job, i: number): string {
  if (job.kind === "pictures") return job.loras[i]?.path ?? "the LoRA";
  if (i > 0) return "the report";
  return job.source.from === "disk" ? job.source.folder : job.source.name;
}

function failureOf(error: unknown): JobFailure {
  if (error instanceof JobError) return error.failure;
  const message = withoutPaths(messageOf(error));
  return { code: "INFERENCE_ERROR", message, promptIndex: null, images: [] };
}

function send(message: FromWorker): void {
  process.send?.(message);
}
