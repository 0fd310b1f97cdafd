import type { WorkerLog } from "../worker/process.ts";

const milliseconds = 10_000;

/** Logs how a transfer goes on, with a line every ten seconds at most. */
export function progressLog(
  log: Pick<WorkerLog, "info">,
  fields: object,
  message: string,
): (progress: object) => void {
  let last = performance.now();
  return (progress) => {
    const now = performance.now();
    if (now - last < milliseconds) return;
    last = now;
    log.info({ ...fields, ...progress }, message);
  };
}
