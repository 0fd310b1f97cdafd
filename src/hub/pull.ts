import { dirname, join } from "node:path";
import type { HubSettings } from "../config/hub.ts";
import type { NetworkPolicy } from "../config/network.ts";
import { InputError } from "../errors.ts";
import { type Lock, LockError, LockLostError, withLock } from "../files/lock.ts";
import { makeFolders } from "../files/make-folders.ts";
import { requireSpace } from "../files/space.ts";
import { TransferError } from "../net/errors.ts";
import { retryTransfers } from "../net/retry.ts";
import { pullFolder } from "../weights/store.ts";
import {
  blobOf,
  fileBytes,
  isLinked,
  isNoted,
  linkFile,
  noteRevision,
  partOf,
  snapshotOf,
} from "./cache-layout.ts";
import { type HubConnection, longestWaitMs, readHubToken } from "./connection.ts";
import { fetchBlob } from "./fetch-blob.ts";
import { type HubFile, listFiles, type Selection } from "./file-list.ts";

export interface PullOptions {
  /** Model store: its hub cache grows. */
  readonly weights: string;
  readonly settings: HubSettings;
  /** For what the hub redirects to. */
  readonly network: NetworkPolicy;
  readonly signal: AbortSignal;
  /** Bytes that are there, and that there will be, of all that was missing. */
  readonly onProgress: (progress: { received: number; total: number }) => void;
  /** Another process fetches the same repository; this one goes on when it is done. */
  readonly onWait: (repository: string) => void;
}

export interface Pulled {
  readonly repository: string;
  readonly revision: string;
  readonly commit: string;
  /** Where its files are. */
  readonly folder: string;
  readonly files: number;
  readonly bytes: number;
  /** Of the files that this process fetched or completed. */
  readonly fetchedBytes: number;
}

/**
 * Four files of 0.5 GB from a server on loopback that gives each connection 40 MB/s: one at a time
 * 56 s, four 18 s; without its limit 9 s either way. A repository's large files are three to seven of
 * much the same size, so none is cut into ranges.
 */
const filesAtOnce = 4;
const listRetries = 4;

/**
 * Brings selections of hub repositories to this machine, into the layout that
 * the hub's own tools share. What is there already is not fetched again; what
 * was begun is gone on with. Other processes may pull at the same time.
 *
 * @throws InputError if the hub refuses, or the disk or the answers can't be used
 * @throws TransferError if the transfer fails
 * @throws CanceledError at the signal; what came until then stays
 */
export async function pull(
  selections: readonly Selection[],
  options: PullOptions,
): Promise<Pulled[]> {
  try {
    const { settings, network, signal } = options;
    const hub = { settings, network, token: await readHubToken(settings), signal };
    const plans: Plan[] = [];
    for (const selection of selections) plans.push(await planPull(hub, selection, options.weights));
    const progress = new Progress(options.onProgress);
    let toFetch = 0;
    for (const plan of plans) {
      const missing = await missingFiles(plan);
      const left = await bytesLeft(plan, missing);
      progress.expect(plan, bytesOf(missing), left);
      toFetch += left;
    }
    await requireSpace(options.weights, toFetch);
    for (const plan of plans) {
      await carryOut(plan, hub, progress, () => options.onWait(plan.selection.repository));
    }
    return plans.map(pulledOf);
  } catch (error) {
    throw explained(error, options.weights);
  }
}

interface Plan {
  readonly selection: Selection;
  /** The repository's folder in the hub cache. */
  readonly cache: string;
  /** Held by whoever writes to that folder. */
  readonly lockFile: string;
  readonly commit: string;
  readonly files: readonly HubFile[];
  /** By this process. */
  fetchedBytes: number;
}

async function planPull(hub: HubConnection, selection: Selection, weights: string): Promise<Plan> {
  const { repository } = selection;
  const { signal, settings } = hub;
  const { folder, cacheName } = pullFolder(weights, repository);
  const { commit, files } = await retryTransfers(() => listFiles(hub, selection), {
    retries: listRetries,
    firstWaitMs: settings.retryMs,
    totalMs: 4 * longestWaitMs,
    longestWaitMs,
    signal,
  });
  // Beside the locks of the hub's Python tools.
  const lockFile = join(folder, ".locks", cacheName, "retake");
  return { selection, cache: join(folder, cacheName), lockFile, commit, files, fetchedBytes: 0 };
}

/** Files without content on this machine, the largest first: the others fit in beside them. */
async function missingFiles({ cache, commit, files }: Plan): Promise<HubFile[]> {
  const missing: HubFile[] = [];
  const hashes = new Set<string>();
  for (const file of files) {
    if (hashes.has(file.hash) || (await isLinked(cache, commit, file))) continue;
    if ((await fileBytes(blobOf(cache, file))) === file.bytes) continue;
    hashes.add(file.hash);
    missing.push(file);
  }
  return missing.toSorted((a, b) => b.bytes - a.bytes);
}

function bytesOf(files: readonly HubFile[]): number {
  return files.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** What of missing files no earlier attempt has brought. */
async function bytesLeft({ cache }: Plan, missing: readonly HubFile[]): Promise<number> {
  let left = 0;
  for (const file of missing) {
    const have = (await fileBytes(partOf(blobOf(cache, file)))) ?? 0;
    left += file.bytes - Math.min(have, file.bytes);
  }
  return left;
}

async function isPulled({ selection, cache, commit, files }: Plan): Promise<boolean> {
  for (const file of files) if (!(await isLinked(cache, commit, file))) return false;
  return isNoted(cache, selection.revision, commit);
}

async function carryOut(
  plan: Plan,
  hub: HubConnection,
  progress: Progress,
  onWait: () => void,
): Promise<void> {
  // A cache that only others may write to serves as well, when all is there.
  if (await isPulled(plan)) return;
  const { selection, cache, lockFile, commit, files } = plan;
  const work = async (signal: AbortSignal, lock: Lock) => {
    const missing = await missingFiles(plan); // another process may have come first
    progress.setLeft(plan, await bytesLeft(plan, missing));
    await fetchAll(plan, missing, { ...hub, signal }, lock, progress);
    plan.fetchedBytes += bytesOf(missing);
    for (const file of files) {
      if (!(await isLinked(cache, commit, file))) await linkFile(cache, commit, file);
    }
    await noteRevision(cache, selection.revision, commit);
  };
  for (;;) {
    try {
      await makeFolders(join(cache, "blobs"));
      await makeFolders(dirname(lockFile));
      return await withLock(lockFile, { signal: hub.signal, onWait }, work);
    } catch (error) {
      // Somebody deleted the lock or the whole folder: what is left is gone on with.
      if (!(error instanceof LockLostError)) throw error;
    }
  }
}

/** Fetches files side by side; the first failure stops all, and what came stays. */
async function fetchAll(
  plan: Plan,
  missing: readonly HubFile[],
  hub: HubConnection,
  lock: Lock,
  progress: Progress,
): Promise<void> {
  const { selection, cache, commit } = plan;
  const { repository } = selection;
  const queue = [...missing];
  const failed = new AbortController();
  const connection = { ...hub, signal: AbortSignal.any([hub.signal, failed.signal]) };
  let failure: unknown;
  const work = async () => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      const blob = { repository, commit, file, target: blobOf(cache, file), lock };
      try {
        await fetchBlob(connection, blob, (count) => progress.came(plan, count));
      } catch (error) {
        queue.length = 0;
        if (!failed.signal.aborted) failure = error;
        failed.abort();
        return;
      }
    }
  };
  await Promise.all(Array.from({ length: filesAtOnce }, work));
  if (failed.signal.aborted) throw failure;
}

function pulledOf({ selection, cache, commit, files, fetchedBytes }: Plan): Pulled {
  return {
    repository: selection.repository,
    revision: selection.revision,
    commit,
    folder: snapshotOf(cache, commit),
    files: files.length,
    bytes: bytesOf(files),
    fetchedBytes,
  };
}

/** Says what a person can do about a disk or a network that does not work. */
function explained(error: unknown, weights: string): unknown {
  if (error instanceof TransferError && !error.transient) {
    return new InputError(error.message, { cause: error });
  }
  if (error instanceof LockError) return new InputError(error.message, { cause: error });
  if (error instanceof InputError || !(error instanceof Error)) return error;
  if (!("syscall" in error && "code" in error)) return error;
  return new InputError(
    `${weights} can't be written to (${error.code}). See that it is a folder with free space that this user may write to. What was fetched so far is kept: pull again to go on.`,
    { cause: error },
  );
}

/** Counts bytes over all repositories. */
class Progress {
  readonly #report: PullOptions["onProgress"];
  readonly #left = new Map<Plan, number>();
  #total = 0;

  constructor(report: PullOptions["onProgress"]) {
    this.#report = report;
  }

  expect(plan: Plan, bytes: number, left: number): void {
    this.#total += bytes;
    this.#left.set(plan, left);
  }

  /** Others may have fetched meanwhile. */
  setLeft(plan: Plan, left: number): void {
    this.#left.set(plan, left);
  }

  came(plan: Plan, count: number): void {
    this.#left.set(plan, (this.#left.get(plan) ?? 0) - count);
    const left = [...this.#left.values()].reduce((sum, bytes) => sum + bytes, 0);
    this.#report({ received: this.#total - left, total: this.#total });
  }
}
