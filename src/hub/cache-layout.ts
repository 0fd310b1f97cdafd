import { lstat, readdir, readFile, readlink, realpath, stat, symlink } from "node:fs/promises";
import { basename, dirname, join, relative, sep } from "node:path";
import { InputError } from "../errors.ts";
import { hashFile } from "../files/hash.ts";
import { makeFolders } from "../files/make-folders.ts";
import { makeWhole, temporaryIn, writeNew } from "../files/whole.ts";
import type { HubFile } from "./file-list.ts";

// The hub's cache, shared with its Python tools: content lies once in blobs/,
// named by its hash; a commit in snapshots/ is a tree of relative links to it;
// refs/ says which commit a branch is.
// https://huggingface.co/docs/huggingface_hub/guides/manage-cache

const commitName = /^[0-9a-f]{40}$/;

/** Where a file's content lies once it is whole. */
export function blobOf(cache: string, { hash }: HubFile): string {
  return join(cache, "blobs", hash);
}

/** Where a file's content lies until it is whole. */
export function partOf(blob: string): string {
  return `${blob}.incomplete`;
}

/** A file's bytes, links followed; undefined if there is none. */
export async function fileBytes(path: string): Promise<number | undefined> {
  const found = await stat(path).catch(() => undefined);
  return found?.isFile() === true ? found.size : undefined;
}

/** Whether a commit's file is there with its length. Its hash was checked when it came. */
export async function isLinked(cache: string, commit: string, file: HubFile): Promise<boolean> {
  return (await fileBytes(pointerOf(cache, commit, file))) === file.bytes;
}

/** Links a commit's file to its blob. @throws InputError where links are impossible or lead out of the cache */
export async function linkFile(cache: string, commit: string, file: HubFile): Promise<void> {
  const pointer = pointerOf(cache, commit, file);
  const folder = dirname(pointer);
  await makeFolders(folder);
  // Somebody who shares the cache may have put a link where a folder should be.
  const inside = join(await realpath(cache), "snapshots") + sep;
  if (!(await realpath(folder)).startsWith(inside)) {
    throw new InputError(`${folder} leads out of the hub cache. Delete it and pull again.`);
  }
  const target = relative(folder, blobOf(cache, file));
  if ((await readlink(pointer).catch(() => undefined)) === target) return;
  if ((await lstat(pointer).catch(() => undefined))?.isDirectory() === true) {
    throw new InputError(
      `${pointer} is a folder where a file should be. Delete it and pull again.`,
    );
  }
  await makeWhole(pointer, (temporary) =>
    symlink(target, temporary).catch((error: unknown) => {
      throw new InputError(
        `${folder} can't hold symbolic links, which the hub cache needs. Pull to a folder on another file system with --weights; on Windows, turn on developer mode.`,
        { cause: error },
      );
    }),
  );
}

/** Whether a revision is known to be this commit. A commit needs no note. */
export async function isNoted(cache: string, revision: string, commit: string): Promise<boolean> {
  if (commitName.test(revision)) return true;
  const noted = await readFile(join(cache, "refs", revision), "utf8").catch(() => undefined);
  return noted === commit;
}

/** Notes which commit a branch or tag is. Written last: who reads it finds all files. */
export async function noteRevision(cache: string, revision: string, commit: string): Promise<void> {
  if (await isNoted(cache, revision, commit)) return;
  const reference = join(cache, "refs", revision);
  await makeFolders(dirname(reference));
  await makeWhole(
    reference,
    (temporary) => writeNew(temporary, (handle) => handle.writeFile(commit)),
    // Not in refs/: every file there is taken for a revision.
    temporaryIn(cache),
  );
}

/** The folder that is one commit of a repository. */
export function snapshotOf(cache: string, commit: string): string {
  return join(cache, "snapshots", commit);
}

function pointerOf(cache: string, commit: string, { path }: HubFile): string {
  return join(snapshotOf(cache, commit), ...path.split("/"));
}

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
