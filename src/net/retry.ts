import { setTimeout as wait } from "node:timers/promises";
import pRetry from "p-retry";
import { CanceledError } from "../errors.ts";
import { TransferError } from "./errors.ts";

/** The milliseconds to wait that a Retry-After header asks for: it holds seconds or a date. */
export function retryAfterMs(value: string | undefined, now: number): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000;
  // Date.parse alone takes "-1" for a year.
  const date = value.endsWith(" GMT") ? Date.parse(value) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

interface RetryOptions {
  readonly retries: number;
  /** Wait before the first retry; doubled before each later one. */
  readonly firstWaitMs: number;
  /** For all attempts and the waits between them. */
  readonly totalMs: number;
  /** A longer wait that the other side asks for is not begun. */
  readonly longestWaitMs?: number;
  readonly signal?: AbortSignal;
}

/**
 * Runs `attempt` again after failures that may pass, with the time that is
 * left for all. A wait that the other side asks for is kept; one that does not
 * fit into that time is not begun: the failure stands.
 */
export async function retryTransfers<T>(
  attempt: (remainingMs: number) => Promise<T>,
  { retries, firstWaitMs, totalMs, longestWaitMs = totalMs, signal }: RetryOptions,
): Promise<T> {
  const end = performance.now() + totalMs;
  const remaining = () => end - performance.now();
  const stoppable = signal === undefined ? {} : { signal };
  try {
    return await pRetry(() => attempt(Math.max(1, remaining())), {
      retries,
      minTimeout: firstWaitMs,
      factor: 2,
      ...stoppable,
      shouldRetry: async ({ error, retryDelay }) => {
        if (!(error instanceof TransferError) || !error.transient) return false;
        const asked = Math.max(retryDelay, error.retryAfterMs ?? 0);
        if (asked >= remaining() || asked > longestWaitMs) return false;
        // p-retry waits for its own delay afterwards.
        await wait(asked - retryDelay, undefined, stoppable);
        return true;
      },
    });
  } catch (error) {
    if (signal?.aborted === true) throw new CanceledError();
    throw error;
  }
}
