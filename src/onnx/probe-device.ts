import { execFile } from "node:child_process";
import type { Device } from "../config/model-options.ts";
import { entryBeside } from "../paths.ts";

const probe = entryBeside(import.meta.url, "device-probe");
const probeMs = 60_000;

/**
 * Why a device can't be used; null if it can. A process of its own tries: a driver may end its
 * process, and writes what it likes.
 *
 * @param signal ends that process; the answer is then of no use
 */
export async function deviceProblem(device: Device, signal?: AbortSignal): Promise<string | null> {
  const options = { timeout: probeMs, ...(signal === undefined ? {} : { signal }) };
  return new Promise((done) => {
    execFile(process.execPath, [probe, device], options, (error, stdout) => {
      if (stdout !== "") done(withoutNoise(stdout, device));
      else done(error === null ? null : "its driver ended the process that opened it");
    });
  });
}

/** The reason alone: no option, which nobody gave, and no place in the runtime's source. */
function withoutNoise(message: string, device: Device): string {
  return message
    .replaceAll(/\s+/g, " ")
    .replace(new RegExp(`^--device ${device}:? `), "")
    .replace(/\/\S+\.cc:\d+ .* was false\. /, "")
    .trim();
}
