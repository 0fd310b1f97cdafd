import { createHash, createHmac } from "node:crypto";
import { readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { InputError } from "../errors.ts";
import { type Lock, LockError, LockLostError, tryWithLock, withLock } from "../files/lock.ts";
import { FolderError, makeOwnFolder } from "../files/own-folder.ts";
import { identityOf } from "../files/read.ts";
import { removeTemporaries } from "../files/whole.ts";
import { checkInThread } from "./describe.ts";

const hashLength = 16;

/**
 * The name of a link's file in the cache: the reference server's, so that what
 * it has downloaded is found. MD5 only names here; it proves nothing.
 *
 * What only a token opened is named after the token too: another's request for
 * the same link must not find it. The token can't be read from the name.
 */
export function cacheName(url: string, token?: string): string {
  const hash =
    token === undefined
      ? createHash("md5").update(url).digest("hex")
      : createHmac("sha256", token).update(url).digest("hex");
  const stem = stemOf(url);
  return `${stem === "" ? "lora" : stem}_${hash.slice(0, hashLength)}.safetensors`;
}

/** The cached file that a file in the folder belongs to; undefined for what is not ours. */
export function cachedFileOf(name: string): string | undefined {
  return /^((?:.+_[0-9a-f]{16}|upload-[0-9a-f]{64})\.safetensors)(?:\.part|\.part\.json|\.checked)?$/.exec(
    name,
  )?.[1];
}

function stemOf(url: string): string {
  const last = new URL(url).pathname.split("/").at(-1) ?? "";
  let name = last;
  try {
    name = decodeURIComponent(last);
  } catch {
    // Not UTF-8 when decoded: the name as it stands will do.
  }
  return name
    .replace(/\.safetensors$/i, "")
    .replaceAll(/[^\w.-]/g, "_")
    .replace(/^\.+/, "")
    .slice(0, 100);
}

/**
 * Whether a cached file is there and whole, and now noted as used. A bad one
 * is removed. A header that a stranger wrote is read once: that it is whole is
 * kept beside the file, with the content that it was found of.
 */
export async function isWhole(file: string, signal: AbortSignal): Promise<boolean> {
  const identity = await identityOf(file).catch(() => undefined);
  if (identity === undefined) return false;
  const known = await readFile(verdictOf(file), "utf8").catch(() => undefined);
  if (known !== identity) {
    try {
      await checkInThread(file, file, signal);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      await rm(verdictOf(file), { force: true });
      await rm(file, { force: true });
      return false;
    }
    await writeFile(verdictOf(file), identity);
  }
  // The file's own time is a part of what it is known by.
  const now = new Date();
  await utimes(verdictOf(file), now, now);
  return true;
}

/** Notes of a cached file, whose header was checked just now, that it is whole. */
export async function noteWhole(file: string): Promise<void> {
  await writeFile(verdictOf(file), await identityOf(file));
}

function verdictOf(file: string): string {
  return `${file}.checked`;
}

/**
 * Runs `work` while nobody else works on a cached file. The folder is made if it is not there; if somebody deletes it
 * in the middle of the work, the work is done again.
 */
export async function withCacheLock<T>(
  file: string,
  signal: AbortSignal,
  work: (signal: AbortSignal, lock: Lock) => Promise<T>,
): Promise<T> {
  for (;;) {
    try {
      await makeCacheFolder(dirname(file));
      return await withLock(file, { signal }, work);
    } catch (error) {
      if (!(error instanceof LockLostError)) throw namingTheFolder(error);
    }
  }
}

/** @throws FolderError if it can't be made, or is another user's */
export async function makeCacheFolder(folder: string): Promise<void> {
  await makeOwnFolder(folder, "LORA_DOWNLOAD_CACHE_DIR");
}

/** A full disk or a folder without access is the operator's to mend; a client must not see its path. */
function namingTheFolder(error: unknown): unknown {
  const reason = error instanceof FolderError ? error.cause : error;
  const isSystems = reason instanceof Error && "syscall" in reason && "code" in reason;
  if (!isSystems && !(error instanceof LockError || error instanceof FolderError)) return error;
  const code = isSystems ? ` (${reason.code})` : "";
  return new Error(
    `the folder of downloaded LoRAs can't be used${code}. See that LORA_DOWNLOAD_CACHE_DIR is a folder with free space, on a file system with locks, that this process may write to and no other user.`,
    { cause: error },
  );
}

/** A file that was asked for so recently may be being read: it stays. */
const inUseMs = 15 * 60_000;

interface Cached {
  readonly files: string[];
  bytes: number;
  /** Of the latest use, in milliseconds since 1970. */
  used: number;
}

/**
 * Deletes the least recently used files until the folder's cached files, and
 * the parts of unfinished ones, fit into `limit` bytes. Files of others, files
 * in use and files that another process works on stay.
 */
export async function trimCache(folder: string, limit: number, signal: AbortSignal): Promise<void> {
  // What killed processes left.
  await removeTemporaries(folder, inUseMs);
  const cache = await listCache(folder);
  let total = [...cache.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  const oldestFirst = [...cache].sort(([, a], [, b]) => a.used - b.used);
  for (const [name, { bytes }] of oldestFirst) {
    if (total <= limit) return;
    const removed = await tryWithLock(join(folder, name), signal, async () => {
      // Again, under the lock: it may have been used since.
      const now = (await listCache(folder)).get(name);
      if (now === undefined || Date.now() - now.used < inUseMs) return false;
      for (const file of now.files) await rm(join(folder, file), { force: true });
      return true;
    });
    if (removed?.result === true) total -= bytes;
  }
}

async function listCache(folder: string): Promise<Map<string, Cached>> {
  const cache = new Map<string, Cached>();
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const name = entry.isFile() ? cachedFileOf(entry.name) : undefined;
    const info = name === undefined ? null : await stat(join(folder, entry.name)).catch(() => null);
    if (name === undefined || info === null) continue; // not ours, or deleted meanwhile
    const cached = cache.get(name) ?? { files: [], bytes: 0, used: 0 };
    cached.files.push(entry.name);
    cached.bytes += info.size;
    cached.used = Math.max(cached.used, info.mtimeMs);
    cache.set(name, cached);
  }
  return cache;
}
