import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { tryWithLock } from "../net/lock.ts";
import { cachedFileOf } from "./cache-name.ts";

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
