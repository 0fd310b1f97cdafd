import { readdir, readlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { hashFile } from "../files/hash.ts";

export interface Verified {
  /** Files whose content is what their name in the hub cache says. */
  readonly sound: readonly string[];
  /** Files with other content. */
  readonly damaged: readonly DamagedFile[];
  /** Files that nobody has named by their content. */
  readonly unnamed: readonly string[];
}

interface DamagedFile {
  readonly file: string;
  /** What has to be deleted for the next pull to bring it again. */
  readonly blob: string;
  readonly found: string;
}

/** Reads every file of a folder in a hub cache's snapshot and compares it with the hash that it is named by. */
export async function verifyFiles(folder: string): Promise<Verified> {
  const sound: string[] = [];
  const damaged: DamagedFile[] = [];
  const unnamed: string[] = [];
  for (const name of (await readdir(folder)).toSorted()) {
    const file = join(folder, name);
    // One link only: a blob may itself be a link to a store that names by other hashes.
    const target = await readlink(file).catch(() => undefined);
    const hash = target === undefined ? "" : basename(target);
    const isNamed = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(hash);
    if (target === undefined || !isNamed) {
      unnamed.push(file);
      continue;
    }
    const found = await hashFile(file, hash.length === 64 ? "sha256" : "git-sha1");
    if (found === hash) sound.push(file);
    else damaged.push({ file, blob: join(dirname(file), target), found });
  }
  return { sound, damaged, unnamed };
}
