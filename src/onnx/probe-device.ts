import { fork } from "node:child_process";
import { mkdtemp, open, rm } from "node:fs/promises";
import { cpus, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import type { Device } from "../config/model-options.ts";
import { entryBeside } from "../paths.ts";
import { type ProbeAnswer, probeAnswerSchema } from "./probe-answer.ts";

const entry = entryBeside(import.meta.url, "device-probe");

/** A driver that compiles every program for the first time takes seconds. */
const mostProbeMs = 60_000;

/** Of devices that could be used: what happens to them later, their runs say. */
const usable = new Map<Device, Promise<ProbeAnswer>>();

/**
 * Opens a device, tries every operator on it and asks what it is: once in a process, or until it
 * can be used. A process of its own does so: a driver may end its process, or hang.
 *
 * @param signal ends that process; the answer is then of no use
 */
export async function probeDevice(
  device: Device,
  signal?: AbortSignal,
  mostMs: number = mostProbeMs,
): Promise<ProbeAnswer> {
  if (device === "cpu") return { problem: null, facts: cpuFacts() };
  const known = usable.get(device);
  if (known !== undefined) return known;
  const asking = ask(device, mostMs, signal);
  usable.set(device, asking);
  const forget = () => usable.delete(device);
  const answer = await asking.finally(forget);
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

async function ask(
  device: Device,
  mostMs: number,
  signal: AbortSignal | undefined,
): Promise<ProbeAnswer> {
  const folder = await mkdtemp(join(tmpdir(), "retake-device-"));
  const logFile = join(folder, "stderr");
  const log = await open(logFile, "w");
  try {
    return await answerOf(device, logFile, log.fd, mostMs, signal);
  } finally {
    await log.close();
    await rm(folder, { recursive: true, force: true });
  }
}

function answerOf(
  device: Device,
  logFile: string,
  stderr: number,
  mostMs: number,
  signal: AbortSignal | undefined,
): Promise<ProbeAnswer> {
  return new Promise((done) => {
    const failed = (problem: string) => done({ problem, facts: null });
    const child = fork(entry, [device, logFile], {
      // The Vulkan loader then writes which device it made, and of which driver.
      env: { ...process.env, VK_LOADER_DEBUG: "layer,driver,info" },
      stdio: ["ignore", "ignore", stderr, "ipc"],
      execArgv: [],
    });
    let isLate = false;
    const late = setTimeout(() => {
      isLate = true;
      child.kill("SIGKILL");
    }, mostMs);
    const stop = () => child.kill("SIGKILL");
    signal?.addEventListener("abort", stop, { once: true });
    if (signal?.aborted === true) stop();
    child.once("message", (message) => done(probeAnswerSchema.parse(message)));
    child.once("error", (error) => failed(error.message));
    child.once("close", (code, killed) => {
      clearTimeout(late);
      signal?.removeEventListener("abort", stop);
      if (isLate) failed(`its driver did not answer within ${mostMs / 1000} seconds`);
      else failed(`its driver ended the process that opened it (${killed ?? `code ${code}`})`);
    });
  });
}
