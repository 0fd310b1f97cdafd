import type { ChildProcess } from "node:child_process";
import { fork } from "node:child_process";
import { getPriority, setPriority } from "node:os";
import { messageOf } from "../errors.ts";
import { withoutPaths } from "../files/without-paths.ts";
import type { Job, JobEvent, JobImage, JobResult } from "../job/job.ts";
import { JobError } from "../job/job.ts";
import { entryBeside } from "../paths.ts";
import { workerEnvironment } from "./environment.ts";
import { exitReason } from "./exit-reason.ts";
import { HangWatch } from "./hang-watch.ts";
import type { FromWorker, ToWorker, WorkerOptions } from "./messages.ts";
import { deviceLost, fromWorkerSchema } from "./messages.ts";
import type { Patience } from "./stages.ts";
import { StageClock } from "./stages.ts";

const entry = entryBeside(import.meta.url, "main");

/** As `nice` counts: 0 is everybody's, 19 the lowest. */
const workerPriority = 5;
/** How much of a dead worker's last words is kept. */
const stderrCharacters = 4000;

export interface WorkerLog {
  readonly info: (fields: object, message: string) => void;
  readonly warn: (fields: object, message: string) => void;
}

export interface WorkerLimits extends Patience {
  /** A worker that shows neither a message nor any use of a processor for so long hangs. */
  readonly hangMs: number;
  readonly watchMs: number;
}

/** What a worker process is doing, and what may follow. */
const followers = {
  /** It was forked and has not said that it is ready. */
  starting: ["idle", "ending", "dead"],
  idle: ["running", "ending", "dead"],
  running: ["idle", "ending", "dead"],
  /** It was killed from here and has not exited. */
  ending: ["dead"],
  dead: [],
} as const satisfies Record<string, readonly string[]>;
type WorkerState = keyof typeof followers;

export interface RunOptions {
  readonly signal: AbortSignal;
  readonly onEvent: (event: JobEvent) => void;
}

/** Why a process ended. */
export interface WorkerEnd {
  readonly reason: string;
  /** It was ended from here because its run was told to stop, or the server stops: nothing went wrong with it. */
  readonly meant: boolean;
}

interface Run {
  readonly onEvent: (event: JobEvent) => void;
  /** Pictures that were announced: they stay whatever becomes of the process. */
  readonly images: JobImage[];
  readonly stages: StageClock;
  readonly result: PromiseWithResolvers<JobResult>;
}

/** Of all slots: none outlives this process, not even in the middle of a step. */
const living = new Set<ChildProcess>();
process.once("exit", () => {
  for (const child of living) child.kill("SIGKILL");
});

/** One process that makes pictures. It ends in `dead`, for whatever reason, and has no second life. */
export class WorkerProcess {
  readonly #device: string;
  readonly #log: WorkerLog;
  readonly #limits: WorkerLimits;
  readonly #child: ChildProcess | undefined;
  readonly #ready = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<WorkerEnd>();
  #state: WorkerState = "starting";
  #run: Run | undefined;
  #hangWatch: HangWatch | undefined;
  /** Why it was ended from here. */
  #killed: WorkerEnd | undefined;
  #lastWords = "";

  constructor(options: WorkerOptions, log: WorkerLog, limits: WorkerLimits) {
    this.#device = options.device;
    this.#log = log;
    this.#limits = limits;
    // Whoever starts a run waits for it; nobody else is told.
    this.#ready.promise.catch(() => {});
    try {
      this.#child = fork(entry, {
        env: workerEnvironment(process.env, options.outputFolder),
        stdio: ["ignore", "inherit", "pipe", "ipc"],
        execArgv: [],
      });
      this.#listen(this.#child);
      this.#send({ type: "start", options });
    } catch (error) {
      this.#notStarted(error);
    }
  }

  get state(): WorkerState {
    return this.#state;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get lastWords(): string {
    return this.#lastWords;
  }

  /** Settles when it can run jobs. @throws JobError if it ended before */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  get ended(): Promise<WorkerEnd> {
    return this.#ended.promise;
  }

  /** Runs a job; only when idle. @param paths of what it names on this machine. @throws JobError; retryable if the process ended in its middle */
  async run(
    job: Job,
    paths: readonly string[],
    { signal, onEvent }: RunOptions,
  ): Promise<JobResult> {
    if (!this.#become("running")) throw new Error(`a worker that is ${this.#state} runs no job`);
    const run: Run = {
      onEvent,
      images: [],
      stages: new StageClock(),
      result: Promise.withResolvers(),
    };
    this.#run = run;
    let patience: NodeJS.Timeout | undefined;
    const cancel = () => {
      this.#send({ type: "cancel" });
      const milliseconds = run.stages.patience(this.#limits);
      patience = setTimeout(() => {
        const what = `its run was told to stop (${String(signal.reason)})`;
        const seconds = Math.round(milliseconds / 1000);
        this.#end(
          `${what}, and its ${run.stages.stage} did not end within ${seconds} seconds`,
          true,
        );
      }, milliseconds);
    };
    this.#send({ type: "run", job, paths: [...paths] });
    signal.addEventListener("abort", cancel, { once: true });
    if (signal.aborted) cancel();
    try {
      return await run.result.promise;
    } finally {
      signal.removeEventListener("abort", cancel);
      clearTimeout(patience);
    }
  }

  /** Ends it at once: whoever waits for a run is told why. */
  async stop(): Promise<void> {
    this.#end("the server stops", true);
    await this.#ended.promise;
  }

  /** Without memory for a process fork throws; without a process to spare it emits an error. */
  #notStarted(error: unknown): void {
    this.#become("dead", `The worker on ${this.#device} could not be started: ${messageOf(error)}`);
  }

  /** Kills it, once. @param why a clause: who or what ended it is said around it */
  #end(why: string, meant = false): void {
    if (!this.#become("ending")) return;
    this.#killed = { reason: `The server ended the worker on ${this.#device}: ${why}.`, meant };
    this.#child?.kill("SIGKILL");
  }

  /**
   * The one place where the state changes. What can't follow is ignored: an
   * exit after a failed start, a kill of what is dead.
   *
   * @param reason of a death that was not decided here
   */
  #become(next: WorkerState, reason = ""): boolean {
    const allowed: readonly WorkerState[] = followers[this.#state];
    if (!allowed.includes(next)) return false;
    this.#state = next;
    if (next === "idle") {
      this.#run = undefined;
      this.#ready.resolve();
    }
    if (next === "running") this.#watch();
    else this.#hangWatch?.end();
    if (next === "dead") this.#died(this.#killed ?? { reason, meant: false });
    return true;
  }

  #died(end: WorkerEnd): void {
    if (this.#child !== undefined) living.delete(this.#child);
    const failure = {
      code: "WORKER_DIED",
      message: withoutPaths(end.reason),
      promptIndex: null,
      images: this.#run?.images ?? [],
    };
    const error = new JobError(failure, true);
    this.#ready.reject(error);
    this.#run?.result.reject(error);
    this.#ended.resolve(end);
  }

  #watch(): void {
    if (this.pid === undefined) return;
    const seconds = this.#limits.hangMs / 1000;
    this.#hangWatch = new HangWatch(this.pid, this.#limits, () =>
      this.#end(`it showed no sign of life for ${seconds} seconds`),
    );
  }

  #listen(child: ChildProcess): void {
    living.add(child);
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#lastWords = (this.#lastWords + text).slice(-stderrCharacters);
    });
    child.on("message", (message) => this.#hear(message));
    child.on("error", (error) => {
      if (child.pid === undefined) this.#notStarted(error);
      else this.#end(messageOf(error));
    });
    child.once("close", (code, signal) =>
      this.#become("dead", exitReason(this.#device, code, signal)),
    );
    if (child.pid === undefined) return;
    this.#watch();
    try {
      // Clients wait for milliseconds, pictures take seconds: the server goes first where they share a
      // processor. One that runs with less already can't give more.
      setPriority(child.pid, Math.max(workerPriority, getPriority()));
    } catch (error) {
      this.#end(`its priority can't be set: ${messageOf(error)}`);
    }
  }

  #hear(message: unknown): void {
    this.#hangWatch?.sign();
    const parsed = fromWorkerSchema.safeParse(message);
    if (!parsed.success) {
      this.#log.warn(
        { device: this.#device, error: parsed.error.message },
        "no message of a worker",
      );
      this.#end("it sent what is no message");
      return;
    }
    try {
      this.#obey(parsed.data);
    } catch (error) {
      this.#end(`what it sent could not be used: ${messageOf(error)}`);
    }
  }

  #obey(message: FromWorker): void {
    const run = this.#run;
    if (message.type === "ready") {
      this.#become("idle");
    } else if (message.type === "log") {
      this.#log[message.level]({ device: this.#device, ...message.fields }, message.message);
    } else if (run === undefined) {
      this.#end(`it sent ${message.type} without a run`);
    } else if (message.type === "stage") {
      run.stages.begin(message.stage);
    } else if (message.type === "event") {
      if (message.event.type === "image") run.images.push(message.event.image);
      run.onEvent(message.event);
    } else {
      // A result that came while it was being killed is one.
      this.#become("idle");
      if (message.type === "result") run.result.resolve(message.result);
      else {
        const isLost = message.failure.code === deviceLost;
        run.result.reject(new JobError(message.failure, isLost));
        if (isLost) this.#end("its device failed in the middle of a run");
      }
    }
  }

  #send(message: ToWorker): void {
    // A process that is gone is noticed by its exit.
    this.#child?.send(message, () => {});
  }
}
