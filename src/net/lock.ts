import { setTimeout as wait } from "node:timers/promises";
import { lock } from "proper-lockfile";
import { CanceledError } from "../errors.ts";
import { TransferError } from "./errors.ts";
import { forgetHolder, freeIfHolderDied, nameHolder } from "./lock-holder.ts";

/** The lock went to another, as after a stand-still of minutes: what was begun is theirs to go on with. */
export class LockLostError extends TransferError {}

/** A holder that has not shown itself for so long is dead, and its lock free. */
const staleMs = 30_000;
const updateMs = 5_000;
const pollMs = 100;

/**
 * Runs `work` while no other process, on this machine or another that shares
 * the folder, works on the same file. Its signal also fires when the lock was
 * lost: the process stood still for so long that another took over.
 *
 * @param onWait is called once if another holds the lock
 * @throws CanceledError at the signal
 */
export async function withLock<T>(
  file: string,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
  onWait: () => void = () => {},
): Promise<T> {
  for (let waits = 0; ; waits++) {
    const held = await tryWithLock(file, signal, work);
    if (held !== undefined) return held.result;
    if (waits === 0) onWait();
    await freeIfHolderDied(file);
    await wait(pollMs, undefined, { signal }).catch((error) => {
      throw signal.aborted ? new CanceledError() : error;
    });
  }
}

/** The same without waiting: undefined if another holds the lock. */
export async function tryWithLock<T>(
  file: string,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<{ result: T } | undefined> {
  if (signal.aborted) throw new CanceledError();
  const lost = new AbortController();
  let release: () => Promise<void>;
  try {
    release = await lock(file, {
      realpath: false, // the file comes to be under the lock
      stale: staleMs,
      update: updateMs,
      onCompromised: (error) => lost.abort(error),
    });
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ELOCKED") return undefined;
    throw error;
  }
  try {
    await nameHolder(file);
    return { result: await work(AbortSignal.any([signal, lost.signal])) };
  } catch (error) {
    if (!lost.signal.aborted) throw error;
    throw new LockLostError("another process took over this download.", {
      transient: true,
      cause: error,
    });
  } finally {
    // What was lost is another's to release.
    if (!lost.signal.aborted) {
      await forgetHolder(file);
      await release();
    }
  }
}
