import { readdir, rm, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { tryWithLock } from "../files/lock.ts";
import { derivedOf } from "./derived-file.ts";
import { readSafetensors } from "./safetensors.ts";

/** A derived file, for a person to look at. */
export interface CachedFile {
  readonly file: string;
  readonly bytes: number;
  /** Names of the files that it was made from. */
  readonly sources: string;
  readonly lastUsed: Date;
}

/** Derived files and unfinished ones, the longest unused first; none if there is no such folder. */
export async function listCached(cacheFolder: string): Promise<CachedFile[]> {
  const names = await readdir(cacheFolder).catch(() => []);
  const files = names
    .filter((name) => derivedOf(name) !== undefined && !name.endsWith(".lock"))
    .map((name) => cachedFile(join(cacheFolder, name)));
  return (await Promise.all(files))
    .filter((file) => file !== undefined)
    .toSorted((a, b) => a.lastUsed.getTime() - b.lastUsed.getTime());
}

/** Undefined if it has gone meanwhile: a part that is whole takes another name. */
async function cachedFile(file: string): Promise<CachedFile | undefined> {
  const found = await stat(file).catch(() => undefined);
  if (found === undefined) return undefined;
  const { size, mtime } = found;
  const sources = await readSafetensors(file).then(
    ({ metadata }) => metadata.sources ?? "unknown",
    () => "unfinished",
  );
  return { file, bytes: size, sources, lastUsed: mtime };
}

/**
 * Deletes them all, but for those that a process is making. What a running process has mapped
 * stays with it until it ends.
 *
 * @returns what was deleted
 */
export async function clearCached(cacheFolder: string): Promise<CachedFile[]> {
  const names = await readdir(cacheFolder).catch(() => []);
  const deleted: CachedFile[] = [];
  const never = new AbortController().signal;
  for (const derived of new Set(names.map(derivedOf))) {
    if (derived === undefined) continue;
    // A lock file that a killed process left goes when the lock is released.
    await tryWithLock(join(cacheFolder, derived), never, async () => {
      for (const cached of await listCached(cacheFolder)) {
        if (derivedOf(basename(cached.file)) !== derived) continue;
        await rm(cached.file, { force: true });
        deleted.push(cached);
      }
    });
  }
  return deleted;
}
