import { randomUUID } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { InputError, messageOf } from "../errors.ts";

/**
 * Writes a file, whole or not at all: to one beside it first, which then takes
 * its name. Errors are the system's.
 */
export async function writeWhole(path: string, ...pieces: readonly Uint8Array[]): Promise<void> {
  // Not the file's name and more: that may be longer than a name can be.
  const temporary = join(dirname(path), `.${randomUUID()}.tmp`);
  try {
    const handle = await open(temporary, "wx", 0o644);
    try {
      // Not write(): on a full disk that writes a part, says how much, and does not fail.
      for (const piece of pieces) await handle.writeFile(piece);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** What a person is told who named the file. */
export function notWritable(path: string, error: unknown): InputError {
  return new InputError(
    `${path} can't be written: ${messageOf(error)}. Name a file in a folder that exists and that you may write to.`,
    { cause: error },
  );
}
