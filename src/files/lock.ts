import { randomUUID } from "node:crypto";
import type { BigIntStats } from "node:fs";
import { accessSync, chmodSync, constants, rmSync, statSync } from "node:fs";
import { dirname, join, sep } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as wait } from "node:timers/promises";
import { CanceledError, messageOf } from "../errors.ts";

// A lock is an exclusive transaction of SQLite on `<path>.lock`: a lock of the kernel on that file. All processes that
// see the file heed it, whatever container or network namespace they are in, and it ends with its process, however that
// ends. Nothing is ever written to the file.
//
// No other code of a process may open a lock file: on POSIX systems closing any handle of a file ends all locks that the
// process has on it (fcntl(2)). Looking at its name is fine.

/** Nobody can take the lock: the folder, the file or the file system is in the way. The message says what to do. */
export class LockError extends Error {
  override readonly name = "LockError";
}

/** The lock file was removed in the middle of the work, and the lock could not be taken again. */
export class LockLostError extends Error {
  override readonly name = "LockLostError";
}

const pollMs = 50;
/** How often a holder looks whether its lock file is still there. */
const lookMs = 2000;

/** A lock that this process holds. */
export class Lock {
  readonly #file: string;
  readonly #lost = new AbortController();
  readonly #watch: NodeJS.Timeout;
  #held: Held;

  private constructor(file: string, held: Held) {
    this.#file = file;
    this.#held = held;
    this.#watch = setInterval(() => this.#look(), lookMs).unref();
  }

  /** Undefined if another holds it, this process included. @throws LockError */
  static tryTake(path: string): Lock | undefined {
    const file = `${path}.lock`;
    const held = take(file);
    return held === undefined ? undefined : new Lock(file, held);
  }

  /** Fires when the lock was lost; its reason is a LockLostError. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** To be called before work takes effect, such as a file getting its name. @throws LockLostError */
  requireHeld(): void {
    this.#look();
    this.#lost.signal.throwIfAborted();
  }

  release(): void {
    clearInterval(this.#watch);
    if (!this.#lost.signal.aborted) letGo(this.#file, this.#held);
  }

  /** A lock file that somebody removed is made again, unless another process was faster or the folder is gone. */
  #look(): void {
    if (this.#lost.signal.aborted) return;
    let why = "another process took the lock";
    try {
      if (isSame(look(this.#file), this.#held.identity)) return;
      this.#held.connection.close();
      const again = take(this.#file);
      if (again !== undefined) {
        this.#held = again;
        return;
      }
    } catch (error) {
      why = messageOf(error).replace(/\.$/, "");
    }
    clearInterval(this.#watch);
    this.#lost.abort(
      new LockLostError(`${this.#file} was removed while it was held, and ${why}. Begin again.`),
    );
  }
}

export interface LockOptions {
  readonly signal: AbortSignal;
  /** Called once if another holds the lock. */
  readonly onWait?: () => void;
}

/**
 * Runs `work` while nobody else holds the lock of a path, in this process or in another one. Its signal also fires when
 * the lock is lost. Work that asks for its own lock waits for ever.
 *
 * @throws LockError if nobody can take the lock
 * @throws LockLostError if the lock was lost and the work therefore failed
 * @throws CanceledError at the signal
 */
export async function withLock<T>(
  path: string,
  { signal, onWait }: LockOptions,
  work: (signal: AbortSignal, lock: Lock) => Promise<T>,
): Promise<T> {
  for (let waits = 0; ; waits++) {
    const done = await tryWithLock(path, signal, work);
    if (done !== undefined) return done.result;
    if (waits === 0) onWait?.();
    await wait(pollMs, undefined, { signal }).catch((error) => {
      throw signal.aborted ? new CanceledError() : error;
    });
  }
}

/** The same without waiting: undefined if another holds the lock. */
export async function tryWithLock<T>(
  path: string,
  signal: AbortSignal,
  work: (signal: AbortSignal, lock: Lock) => Promise<T>,
): Promise<{ result: T } | undefined> {
  if (signal.aborted) throw new CanceledError();
  const lock = Lock.tryTake(path);
  if (lock === undefined) return undefined;
  try {
    return { result: await work(AbortSignal.any([signal, lock.lost]), lock) };
  } catch (error) {
    // If a file is missing, somebody may just delete the folder, and the lock file last.
    if (isMissing(error)) await wait(lookMs, undefined, { signal }).catch(() => {});
    if (!signal.aborted) lock.requireHeld();
    throw error;
  } finally {
    lock.release();
  }
}

interface Held {
  readonly connection: DatabaseSync;
  readonly identity: BigIntStats;
}

const busy = 5; // SQLITE_BUSY, https://sqlite.org/rescode.html

/** Undefined if somebody else has it. Takes some 0.1 ms, in which nothing else runs. */
function take(file: string): Held | undefined {
  try {
    for (;;) {
      const found = look(file) ?? create(file);
      const connection = lockedConnection(file);
      if (connection === undefined) {
        requireLocks(file);
        return undefined;
      }
      // Holders remove the file. If the name means the same file before and after, it is the one that is locked.
      const identity = look(file);
      if (identity !== undefined && isSame(found, identity)) return { connection, identity };
      connection.close();
    }
  } catch (error) {
    throw new LockError(`${file} can't be locked: ${reasonOf(file, error)}.`, { cause: error });
  }
}

/** Removes the lock file and ends the lock: whoever waits for the removed file sees that, and asks for a new one. */
function letGo(file: string, { connection, identity }: Held): void {
  // Windows removes no open file, nor one that the next holder has opened already.
  if (process.platform === "win32") connection.close();
  try {
    // Somebody may have removed it, and another may hold the one that has its name now.
    if (isSame(look(file), identity)) rmSync(file);
  } catch {
    // It stays for the next holder.
  }
  if (process.platform !== "win32") connection.close();
}

/** Undefined if somebody else has the lock. */
function lockedConnection(file: string): DatabaseSync | undefined {
  const connection = new DatabaseSync(file, { timeout: 0 });
  try {
    // No journal beside it: there is nothing to undo.
    connection.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
    return connection;
  } catch (error) {
    connection.close();
    if (((codeOf(error) ?? 0) & 0xff) === busy) return undefined;
    throw error;
  }
}

/** Makes the file, for all who may write to its folder. SQLite does it: see above. */
function create(file: string): BigIntStats | undefined {
  new DatabaseSync(file).close();
  const { mode } = statSync(dirname(file));
  if ((mode & 0o022) !== 0) {
    try {
      chmodSync(file, 0o644 | (mode & 0o022));
    } catch {
      // Another user made it first, who does the same, or the file system has no modes.
    }
  }
  return look(file);
}

/** Folders where a lock was taken once. */
const lockable = new Set<string>();

/**
 * For SQLite a file system without locks (ENOLCK) and a lock of another's are one. What can't be locked either is a
 * file that nobody else knows.
 */
function requireLocks(file: string): void {
  const folder = dirname(file);
  if (lockable.has(folder)) return;
  const own = join(folder, `.${randomUUID()}.lock`);
  const connection = lockedConnection(own);
  connection?.close();
  rmSync(own, { force: true });
  if (connection === undefined) {
    throw new Error(
      "its file system has no locks. Use a folder on a disk of this machine, or mount the network's with locks",
    );
  }
  lockable.add(folder);
}

function look(file: string): BigIntStats | undefined {
  return statSync(file, { bigint: true, throwIfNoEntry: false });
}

/** With the time of birth: the number of a removed file may be given to a new one. */
function isSame(a: BigIntStats | undefined, b: BigIntStats): boolean {
  return a !== undefined && a.dev === b.dev && a.ino === b.ino && a.birthtimeNs === b.birthtimeNs;
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

function codeOf(error: unknown): number | undefined {
  return error instanceof Error && "errcode" in error ? Number(error.errcode) : undefined;
}

/** SQLite says that it could not open a file, and not why: the system does. */
function reasonOf(file: string, error: unknown): string {
  if (codeOf(error) === undefined) return messageOf(error);
  try {
    // With a separator at its end, so that only a folder will do.
    accessSync(join(dirname(file), sep), constants.W_OK | constants.X_OK);
    if (statSync(file).isFile()) accessSync(file, constants.R_OK | constants.W_OK);
    else return "it is not a file. Remove it";
  } catch (reason) {
    return messageOf(reason);
  }
  return `${messageOf(error)}. If another program made that file, remove it`;
}
