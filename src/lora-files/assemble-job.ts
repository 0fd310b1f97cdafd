import { constants, copyFile, link, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { CanceledError } from "../errors.ts";
import { previewFolder } from "../job/job-files.ts";
import type { UploadStore } from "./upload-folder.ts";

interface UploadedFile {
  /** In the job folder; checked when its manifest came. */
  readonly path: string;
  readonly sha256: string;
  readonly bytes: number;
}

/**
 * Puts uploaded files together as the trainer's folder. They are further names of the kept files
 * where the file system can do that, so that nothing in it is a link.
 *
 * @param folder is made
 * @throws InputError if a file is not there any more, CanceledError at the signal
 */
export async function assembleJob(
  folder: string,
  store: UploadStore,
  files: readonly UploadedFile[],
  signal: AbortSignal,
): Promise<void> {
  await mkdir(join(folder, previewFolder), { recursive: true });
  for (const { path, sha256, bytes } of files) {
    if (signal.aborted) throw new CanceledError();
    await nameAlso(await store.localFile(sha256, bytes, signal), join(folder, path));
  }
}

/** Another file system, one without links, or a limit of names: the content is copied then. */
const noLink: readonly string[] = ["EXDEV", "EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"];

async function nameAlso(file: string, name: string): Promise<void> {
  try {
    await link(file, name);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    if (!noLink.includes(code)) throw error;
    await copyFile(file, name, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL);
  }
}
