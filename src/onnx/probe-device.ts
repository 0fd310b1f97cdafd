import { fork } from "node:child_process";
import { mkdtemp, open, rm } from "node:fs/promises";
import { cpus, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import type { Device } from "../config/model-options.ts";
import { entryBeside } from "../paths.ts";
import { alive, hardware, type ProbeAnswer, probeAnswerSchema } from "./probe-answer.ts";

const entry = entryBeside(import.meta.url, "device-probe");

/** Of silence: a driver that compiles its programs for the first time takes seconds for each few. */
const mostSilentMs = 60_000;

/** Of devices that could be used: what happens to them later, their runs say. */
const usable = new Map<Device, Promise<ProbeAnswer>>();

export interface ProbeOptions {
  /** Ends the process that asks; the answer is then of no use. */
  readonly signal?: AbortSignal;
  /** Milliseconds of silence after which it is given up. */
  readonly mostSilent?: number;
  /** Answers at once where the adapter is none. */
  readonly hardwareOnly?: boolean;
}

/**
 * Opens a device, tries every operator on it and asks what it is: once in a process, if it can be
 * used. A process of its own does so: a driver may end its process, or hang.
 */
export async function probeDevice(
  device: Device,
  options: ProbeOptions = {},
): Promise<ProbeAnswer> {
  if (device === "cpu") return { problem: null, facts: cpuFacts() };
  const known = usable.get(device);
  if (known !== undefined) return known;
  const asking = ask(device, options);
  if (options.hardwareOnly !== true) usable.set(device, asking);
  const answer = await asking.finally(() => usable.delete(device));
  if (answer.problem === null) usable.set(device, asking);
  return answer;
}

/** This process has loaded the runtime already, and with it the CPU's part. */
function cpuFacts(): NonNullable<ProbeAnswer["facts"]> {
  return {
    name: cpus()[0]?.model.trim() ?? null,
    driver: null,
    isSoftware: false,
    memoryBytes: totalmem(),
    isShared: true,
    f16: true,
    fusedAttention: true,
    maxBufferBytes: null,
  };
}

async function ask(device: Device, options: ProbeOptions): Promise<ProbeAnswer> {
  const folder = await mkdtemp(join(tmpdir(), "retake-device-"));
  const logFile = join(folder, "stderr");
  const log = await open(logFile, "w");
  try {
    return await answerOf(device, logFile, log.fd, options);
  } finally {
    await log.close();
    await rm(folder, { recursive: true, force: true });
  }
}

function answerOf(
  device: Device,
  logFile: string,
  stderr: number,
  { signal, mostSilent = mostSilentMs, hardwareOnly = false }: ProbeOptions,
): Promise<ProbeAnswer> {
  return new Promise((done) => {
    const failed = (problem: string) => done({ problem, facts: null });
    const child = fork(entry, [device, logFile, ...(hardwareOnly ? [hardware] : [])], {
      // The Vulkan loader then writes which device it made, and of which driver.
      env: { ...process.env, VK_LOADER_DEBUG: "layer,driver,info" },
      stdio: ["ignore", "ignore", stderr, "ipc"],
      execArgv: [],
    });
    let isLate = false;
    const late = setTimeout(() => {
      isLate = true;
      stop();
    }, mostSilent);
    const stop = () => child.kill("SIGKILL");
    // A driver that hangs would outlive this process.
    process.once("exit", stop);
    signal?.addEventListener("abort", stop, { once: true });
    if (signal?.aborted === true) stop();
    child.on("message", (message) => {
      if (message === alive) late.refresh();
      else done(probeAnswerSchema.parse(message));
    });
    child.once("error", (error) => failed(error.message));
    child.once("close", (code, killed) => {
      clearTimeout(late);
      process.off("exit", stop);
      signal?.removeEventListener("abort", stop);
      if (isLate) failed(`its driver did not answer within ${mostSilent / 1000} seconds`);
      else failed(`its driver ended the process that opened it (${killed ?? `code ${code}`})`);
    });
  });
}
