import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { readSafetensors } from "./safetensors.ts";

/** A derived file, for a person to look at. */
export interface CachedFile {
  readonly file: string;
  readonly bytes: number;
  /** Names of the files that it was made from. */
  readonly sources: string;
  readonly lastUsed: Date;
}

const ours = /^[a-z0-9]+-[0-9a-f]{32}\.safetensors(\.part)?$/;

/** Derived files and unfinished ones, the longest unused first; none if there is no such folder. */
export async function listCached(cacheFolder: string): Promise<CachedFile[]> {
  const names = await readdir(cacheFolder).catch(() => []);
  const files = names
    .filter((name) => ours.test(name))
    .map(async (name) => {
      const file = join(cacheFolder, name);
      const { size, mtime } = await stat(file);
      const sources = await readSafetensors(file).then(
        ({ metadata }) => metadata.sources ?? "unknown",
        () => "unfinished",
      );
      return { file, bytes: size, sources, lastUsed: mtime };
    });
  return (await Promise.all(files)).toSorted((a, b) => a.lastUsed.getTime() - b.lastUsed.getTime());
}

/** Deletes them all. What a running process has mapped stays with it until it ends. */
export async function clearCached(cacheFolder: string): Promise<CachedFile[]> {
  const files = await listCached(cacheFolder);
  for (const { file } of files) await rm(file, { force: true });
  return files;
}
