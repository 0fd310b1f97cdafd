import type { ChildProcess } from "node:child_process";
import { fork } from "node:child_process";
import { readFile } from "node:fs/promises";
import { setPriority } from "node:os";
import type { Job, JobEvent, JobResult } from "../job/job.ts";
import { JobError } from "../job/job.ts";
import { entryBeside } from "../paths.ts";
import type { ToWorker, WorkerOptions } from "./messages.ts";
import { fromWorkerSchema } from "./messages.ts";

const entry = entryBeside(import.meta.url, "main");

/** A worker that shows neither a message nor any use of a processor for so long hangs. A slow step uses one all the time. */
const hangMilliseconds = 120_000;
const watchMilliseconds = 5000;
/** A canceled job ends within its step; a step that takes longer than this ends with its process. */
const cancelGraceMilliseconds = 10_000;
const shortestBackOff = 250;
const longestBackOff = 30_000;
/** As `nice` counts: 0 is everybody's, 19 the lowest. */
const workerPriority = 5;
/** How much of a dead worker's last words is kept. */
const stderrCharacters = 4000;

/** What a worker's environment may hold: no tokens, no database. */
const passedOn =
  /^(?:PATH|HOME|LANG|LC_.*|TZ|TMPDIR|TEMP|SYSTEMROOT|NODE_COMPILE_CACHE|LD_LIBRARY_PATH|CUDA_.*|AWS_.*|NVIDIA_.*|OMP_.*|ORT_.*)$/i;

export interface WorkerLog {
  readonly info: (fields: object, message: string) => void;
  readonly warn: (fields: object, message: string) => void;
}

interface Running {
  readonly job: Job;
  readonly onEvent: (event: JobEvent) => void;
  readonly resolve: (result: JobResult) => void;
  readonly reject: (error: JobError) => void;
}

/** One worker process and its successors: a crash ends a run, never the server. */
export class WorkerProcess {
  readonly #options: WorkerOptions;
  readonly #log: WorkerLog;
  #child: ChildProcess | undefined;
  #ready: Promise<void> | undefined;
  #running: Running | undefined;
  #lastSign = 0;
  #backOff = shortestBackOff;
  #restartAt = 0;
  #restarts = 0;
  #stopped = false;
  /** The process was ended because it hung. */
  #hung = false;

  constructor(options: WorkerOptions, log: WorkerLog) {
    this.#options = options;
    this.#log = log;
  }

  get restarts(): number {
    return this.#restarts;
  }

  /**
   * Runs a job in the process, which is started when there is none.
   *
   * @throws JobError; retryable if the process died
   */
  async run(
    job: Job,
    loraFiles: readonly string[],
    { signal, onEvent }: { signal: AbortSignal; onEvent: (event: JobEvent) => void },
  ): Promise<JobResult> {
    if (this.#running !== undefined) throw new Error("a worker runs one job at a time");
    const child = await this.#start();
    if (signal.aborted) throw canceled(job);
    let killTimer: NodeJS.Timeout | undefined;
    const cancel = () => {
      this.#send({ type: "cancel" });
      killTimer = setTimeout(() => child.kill("SIGKILL"), cancelGraceMilliseconds);
    };
    const watch = this.#watchForHang(child);
    try {
      return await new Promise<JobResult>((resolve, reject) => {
        this.#running = { job, onEvent, resolve, reject };
        this.#lastSign = performance.now();
        this.#send({ type: "run", job, loraFiles: [...loraFiles] });
        signal.addEventListener("abort", cancel, { once: true });
      });
    } finally {
      this.#running = undefined;
      signal.removeEventListener("abort", cancel);
      clearTimeout(killTimer);
      clearInterval(watch);
    }
  }

  /** Ends the process at once: whoever waits for a run is told that it died. */
  async stop(): Promise<void> {
    this.#stopped = true;
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise((done) => child.once("exit", done));
    child.kill("SIGKILL");
    await exited;
  }

  async #start(): Promise<ChildProcess> {
    while (this.#child === undefined) {
      if (this.#stopped) throw died("The server is stopping.", undefined);
      const wait = this.#restartAt - performance.now();
      if (wait > 0) await new Promise((done) => setTimeout(done, wait));
      if (this.#child === undefined && !this.#stopped) this.#fork();
    }
    const child = this.#child;
    await this.#ready;
    return child;
  }

  #fork(): void {
    const environment = Object.entries(process.env).filter(([name]) => passedOn.test(name));
    const child = fork(entry, {
      env: Object.fromEntries(environment),
      stdio: ["ignore", "inherit", "pipe", "ipc"],
      execArgv: [],
    });
    this.#child = child;
    // Clients wait for milliseconds, pictures take seconds: the server goes first where they share a processor.
    if (child.pid !== undefined) setPriority(child.pid, workerPriority);
    let lastWords = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      lastWords = (lastWords + text).slice(-stderrCharacters);
    });
    this.#ready = new Promise((ready, fail) => {
      child.on("message", (message) => {
        this.#lastSign = performance.now();
        const parsed = fromWorkerSchema.parse(message);
        if (parsed.type === "ready") ready();
        else if (parsed.type === "event") this.#running?.onEvent(parsed.event);
        else if (parsed.type === "result") {
          // It can do its work: the next start is quick again.
          this.#backOff = shortestBackOff;
          this.#running?.resolve(parsed.result);
        } else this.#running?.reject(new JobError(parsed.failure, false));
      });
      child.once("error", fail);
      child.once("exit", (code, signal) => {
        const { device } = this.#options;
        const reason = this.#hung ? hungReason(device) : reasonOf(device, code, signal);
        this.#hung = false;
        const error = died(reason, this.#running?.job);
        this.#ended(lastWords, error);
        fail(error);
      });
    });
    // Whoever starts a run waits for it; nobody else is told.
    this.#ready.catch(() => {});
    this.#send({ type: "start", options: this.#options });
  }

  #ended(lastWords: string, error: JobError): void {
    this.#child = undefined;
    if (this.#stopped) {
      this.#running?.reject(error);
      return;
    }
    this.#restarts++;
    this.#restartAt = performance.now() + this.#backOff;
    this.#backOff = Math.min(this.#backOff * 2, longestBackOff);
    this.#log.warn({ device: this.#options.device, stderr: lastWords }, error.message);
    this.#running?.reject(error);
  }

  #watchForHang(child: ChildProcess): NodeJS.Timeout {
    let lastTime = -1;
    return setInterval(() => {
      processorTime(child.pid).then(
        (time) => {
          // Where the system doesn't tell, only the request's own time limit ends a hang.
          if (time === undefined || time > lastTime + 1) this.#lastSign = performance.now();
          lastTime = time ?? lastTime;
          if (performance.now() - this.#lastSign > hangMilliseconds) {
            this.#hung = true;
            child.kill("SIGKILL");
          }
        },
        () => {},
      );
    }, watchMilliseconds);
  }

  #send(message: ToWorker): void {
    // A process that is gone is noticed by its exit.
    this.#child?.send(message, () => {});
  }
}

/** Processor time of all threads in ticks, where /proc tells it. */
async function processorTime(pid: number | undefined): Promise<number | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  // Fields 14 and 15 of proc_pid_stat(5); the name, field 2, may hold spaces and ends at the last parenthesis.
  const fields = text?.slice(text.lastIndexOf(")") + 2).split(" ");
  return fields === undefined ? undefined : Number(fields[11]) + Number(fields[12]);
}

function hungReason(device: string): string {
  return `The worker on ${device} showed no sign of life for ${hangMilliseconds / 1000} seconds and was ended.`;
}

function reasonOf(device: string, code: number | null, signal: NodeJS.Signals | null): string {
  const how = signal === null ? `exited with code ${code}` : `was ended by ${signal}`;
  const memory = signal === "SIGKILL" ? " The system does that when memory runs out." : "";
  return `The worker on ${device} ${how}.${memory}`;
}

function died(message: string, job: Job | undefined): JobError {
  const failure = { code: "WORKER_DIED", message, promptIndex: null, images: [] };
  return new JobError(failure, true, job === undefined ? {} : { cause: job.id });
}

function canceled(job: Job): JobError {
  const failure = { code: "CANCELED", message: "Canceled.", promptIndex: null, images: [] };
  return new JobError(failure, false, { cause: job.id });
}
