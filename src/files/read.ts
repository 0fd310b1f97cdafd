import type { FileHandle } from "node:fs/promises";
import { constants, open, realpath, stat } from "node:fs/promises";
import { InputError, messageOf } from "../errors.ts";

export interface OpenFile {
  readonly handle: FileHandle;
  /** Real, absolute path. */
  readonly file: string;
  /** In bytes, when it was opened. */
  readonly size: number;
}

/**
 * Opens a file to be read. The caller closes it.
 *
 * @param what such as ".safetensors file", for the message
 * @throws InputError if it is not a file, or may not be read
 */
export async function openRegular(path: string, what: string): Promise<OpenFile> {
  try {
    const file = await realpath(path);
    // Before it is opened: with a device that may already do something.
    if (!(await stat(file)).isFile()) throw new Error("it is not a file");
    // Should it be exchanged for a pipe meanwhile: not to wait for somebody who writes to it. Windows has no such flag.
    const handle = await open(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    try {
      const found = await handle.stat();
      if (!found.isFile()) throw new Error("it is not a file");
      return { handle, file, size: found.size };
    } catch (error) {
      await handle.close();
      throw error;
    }
  } catch (error) {
    throw new InputError(
      `${path} can't be opened: ${messageOf(error)}. Name a ${what} that you may read.`,
      { cause: error },
    );
  }
}

/**
 * Fills `bytes` from a position of a file on. One read may bring less than it was asked for, as on network file systems.
 *
 * @param file for the message
 * @throws InputError if the file ends before
 */
export async function readExactly(
  handle: FileHandle,
  bytes: Uint8Array,
  position: number,
  file: string,
): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesRead } = await handle.read(bytes, done, bytes.length - done, position + done);
    if (bytesRead === 0) {
      throw new InputError(`${file} became shorter while it was read. Download it again.`);
    }
    done += bytesRead;
  }
}

/** Names the content that a path has now: a file that is written again is another one. */
export async function identityOf(path: string): Promise<string> {
  const file = await realpath(path);
  const { dev, ino, size, mtimeNs } = await stat(file, { bigint: true });
  return [file, dev, ino, size, mtimeNs].join(":");
}
