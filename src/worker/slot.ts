import { setTimeout as wait } from "node:timers/promises";
import type { Job, JobFailure, JobResult } from "../job/job.ts";
import { JobError } from "../job/job.ts";
import type { WorkerOptions } from "./messages.ts";
import type { RunOptions, WorkerLimits, WorkerLog } from "./process.ts";
import { WorkerProcess } from "./process.ts";

const shortestBackOff = 250;
const longestBackOff = 30_000;

const workerLimits: WorkerLimits = {
  hangMs: 120_000,
  watchMs: 5000,
  graceMs: 10_000,
  firstGraceMs: 120_000,
};

/** The processor has nothing to do while a device computes a step, which takes minutes on a small one. */
const deviceHangMs = 900_000;

/** Place for one worker process and its successors: what ends one of them never ends the server. */
export class WorkerSlot {
  readonly #options: WorkerOptions;
  readonly #log: WorkerLog;
  readonly #limits: WorkerLimits;
  #process: WorkerProcess | undefined;
  #backOff = shortestBackOff;
  /** After a death the next process is not started before. */
  #startAt = 0;
  #stopped = false;

  constructor(options: WorkerOptions, log: WorkerLog, limits: Partial<WorkerLimits> = {}) {
    this.#options = options;
    this.#log = log;
    const own = options.device === "cpu" ? workerLimits : { ...workerLimits, hangMs: deviceHangMs };
    this.#limits = { ...own, ...limits };
  }

  /** Of the present process. */
  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /**
   * Runs a job, in a new process if the last one ended. One job at a time.
   *
   * @param paths on this machine of its LoRAs in their order; or of its job folder, and one to make a report in
   * @throws JobError; retryable if the process ended
   */
  async run(job: Job, paths: readonly string[], options: RunOptions): Promise<JobResult> {
    const process = await unlessAborted(this.#ready(), options.signal);
    const result = await process.run(job, paths, options);
    // It can do its work: the next start is quick again.
    this.#backOff = shortestBackOff;
    return result;
  }

  /** Ends the process at once, and starts none any more: whoever waits for a run is told so. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#process?.stop();
  }

  /** A process that has nothing to do. */
  async #ready(): Promise<WorkerProcess> {
    for (;;) {
      if (this.#stopped) throw new JobError(failure("WORKER_DIED", "The server stops."), true);
      if (this.#process === undefined || this.#process.state === "dead") {
        const pause = this.#startAt - performance.now();
        if (pause > 0) {
          await wait(pause);
          continue;
        }
        this.#process = this.#start();
      }
      const process = this.#process;
      if (process.state === "ending") await process.ended;
      else {
        // Rejects if it could not even be started: that ends this job, not the slot.
        await process.ready;
        return process;
      }
    }
  }

  #start(): WorkerProcess {
    const process = new WorkerProcess(this.#options, this.#log, this.#limits);
    const { device } = this.#options;
    void process.ended.then(({ reason, meant }) => {
      if (this.#stopped) return;
      this.#log.warn({ device, pid: process.pid, stderr: process.lastWords }, reason);
      if (meant) return;
      this.#startAt = performance.now() + this.#backOff;
      this.#backOff = Math.min(this.#backOff * 2, longestBackOff);
    });
    return process;
  }
}

/** A start can take long where a bucket doesn't answer: whoever is told to stop doesn't wait for it. */
function unlessAborted<Result>(work: Promise<Result>, signal: AbortSignal): Promise<Result> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(new JobError(failure("CANCELED", "Canceled."), false));
    const forget = () => signal.removeEventListener("abort", abort);
    work.then(resolve, reject).finally(forget);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
  });
}

function failure(code: string, message: string): JobFailure {
  return { code, message, promptIndex: null, images: [] };
}
