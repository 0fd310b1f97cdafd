import { setImmediate } from "node:timers/promises";
import { CanceledError } from "./errors.ts";

/**
 * Between two pieces of work that can't be interrupted: lets messages in, which
 * may fire the signal, and ends the work if it has fired.
 *
 * @throws CanceledError
 */
export async function stopPoint(signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return;
  // A piece may have ended in the event loop's poll phase: what came meanwhile is read in the next one only.
  await setImmediate();
  await setImmediate();
  if (signal.aborted) throw new CanceledError();
}
