import { readFile, rm, stat, writeFile } from "node:fs/promises";
import { z } from "zod";
import { enoughToRecognise } from "./recognise.ts";

// A download is written to `<file>.part`, one writer at a time under the
// file's lock. `<file>.part.json` says which version of the remote file it is.

/** What is known of an unfinished download: enough to ask for its rest. */
export interface Partial {
  readonly bytes: number;
  readonly etag: string;
  readonly total: number;
}

const stampSchema = z.strictObject({ etag: z.string(), total: z.int().min(1) });

export function partOf(file: string): string {
  return `${file}.part`;
}

/** The unfinished download of a file; undefined if there is none to go on with. */
export async function readPartial(file: string): Promise<Partial | undefined> {
  try {
    const stamp = stampSchema.parse(JSON.parse(await readFile(stampOf(file), "utf8")));
    const { size } = await stat(partOf(file));
    return size >= enoughToRecognise && size < stamp.total ? { bytes: size, ...stamp } : undefined;
  } catch {
    // Missing, or cut off by a crash: the download begins anew.
    return undefined;
  }
}

/** Notes the version that follows, before its first byte is written; without one nothing is resumed. */
export async function stampPartial(
  file: string,
  etag: string | undefined,
  total: number | undefined,
): Promise<void> {
  await rm(stampOf(file), { force: true });
  // A weak tag may be the same for other bytes.
  if (etag === undefined || total === undefined || !/^"[^"]+"$/.test(etag)) return;
  await writeFile(stampOf(file), JSON.stringify({ etag, total }));
}

/** Deletes an unfinished download that is of no use. */
export async function dropPartial(file: string): Promise<void> {
  await rm(partOf(file), { force: true });
  await dropStamp(file);
}

/** Forgets how to go on, as the part is whole or of another version. */
export async function dropStamp(file: string): Promise<void> {
  await rm(stampOf(file), { force: true });
}

function stampOf(file: string): string {
  return `${partOf(file)}.json`;
}
