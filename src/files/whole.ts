import { randomUUID } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { InputError, messageOf } from "../errors.ts";

/**
 * Makes a file, a folder or a link, whole or not at all: under a name that nobody else has first, which then becomes
 * `path`. When this returns, it survives a loss of power. Errors are the system's.
 *
 * @param make makes it there, and brings its content to the disk
 * @param temporary on the same file system as `path`; beside it if left out
 */
export async function makeWhole(
  path: string,
  make: (temporary: string) => Promise<void>,
  temporary: string = temporaryIn(dirname(path)),
): Promise<void> {
  try {
    await make(temporary);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

/** Writes a file, whole or not at all. @param mode of the file; by default all may read it */
export async function writeWhole(
  path: string,
  pieces: readonly Uint8Array[],
  mode?: number,
): Promise<void> {
  await makeWhole(path, (temporary) =>
    writeNew(
      temporary,
      async (handle) => {
        // Not write(): on a full disk that writes a part, says how much, and does not fail.
        for (const piece of pieces) await handle.writeFile(piece);
      },
      mode,
    ),
  );
}

/** Makes a folder and its files, whole or not at all. A folder that is there already must be empty. */
export async function writeFolderWhole(
  path: string,
  fill: (folder: string) => Promise<void>,
): Promise<void> {
  await makeWhole(path, async (temporary) => {
    await mkdir(temporary);
    await fill(temporary);
    await syncFolder(temporary);
  });
}

/** Writes a file that is not there yet and brings it to the disk. A part of it stays if that fails. */
export async function writeNew(
  path: string,
  fill: (handle: FileHandle) => Promise<void>,
  mode = 0o644,
): Promise<void> {
  const handle = await open(path, "wx", mode);
  try {
    await fill(handle);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Writes all bytes from a position of a file on: on a full disk a write may take a part only and say so. */
export async function writeAt(
  handle: FileHandle,
  bytes: Uint8Array,
  position: number,
): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const rest = bytes.length - done;
    done += (await handle.write(bytes, done, rest, position + done)).bytesWritten;
  }
}

/** Gives a file that lies on the disk whole its name, for good. */
export async function publish(file: string, path: string): Promise<void> {
  await rename(file, path);
  await syncFolder(dirname(path));
}

/** A name in a folder that nobody else has. Not a file's name and more: that may be longer than a name can be. */
export function temporaryIn(folder: string): string {
  return join(folder, `.${randomUUID()}.tmp`);
}

/** Removes what killed processes left of their work in a folder. What grew lately is somebody's. */
export async function removeTemporaries(folder: string, unusedMs: number): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!/^\.[0-9a-f-]{36}\.tmp$/.test(name)) continue;
    const path = join(folder, name);
    const found = await stat(path).catch(() => undefined);
    if (found !== undefined && Date.now() - found.mtimeMs >= unusedMs) {
      await rm(path, { recursive: true, force: true });
    }
  }
}

/** Makes the names in a folder last through a loss of power, where the system can. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r").catch(() => undefined);
  try {
    // Windows opens no folders, and some file systems refuse to sync them.
    await handle?.sync().catch(() => {});
  } finally {
    await handle?.close();
  }
}

/** What a person is told who named the file. */
export function notWritable(path: string, error: unknown): InputError {
  return new InputError(
    `${path} can't be written: ${messageOf(error)}. Name a file in a folder that exists and that you may write to.`,
    { cause: error },
  );
}
