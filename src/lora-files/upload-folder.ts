import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { InputError } from "../errors.ts";
import { makeOwnFolder } from "../files/own-folder.ts";
import { publish, removeTemporaries } from "../files/whole.ts";

/** Where uploaded LoRAs lie, each once, by the SHA-256 of its content. */
export interface UploadStore {
  /** Folder on this machine for what is still being received. */
  readonly stagingFolder: string;
  /** Takes a file that was received whole. When this returns, it survives a crash. The staged file may be gone then. */
  keep(stagedFile: string, sha256: string): Promise<void>;
  /**
   * A file of this machine with the content.
   *
   * @param bytes its length, which is checked
   * @throws InputError if it is not there
   */
  localFile(sha256: string, bytes: number, signal: AbortSignal): Promise<string>;
  /** Does nothing if there is none. */
  remove(sha256: string): Promise<void>;
}

export function uploadFileName(sha256: string): string {
  return `upload-${sha256}.safetensors`;
}

/** Uploads in one flat folder, which nodes on several machines share. */
export class UploadFolder implements UploadStore {
  readonly stagingFolder: string;

  private constructor(folder: string) {
    this.stagingFolder = folder;
  }

  /**
   * @param leftoverMilliseconds what lay in staging for so long is nobody's any more
   * @throws InputError if the folder can't be made
   */
  static async open(folder: string, leftoverMilliseconds: number): Promise<UploadFolder> {
    await makeStagingFolder(folder, "RETAKE_UPLOADS", leftoverMilliseconds);
    return new UploadFolder(folder);
  }

  async keep(stagedFile: string, sha256: string): Promise<void> {
    await publish(stagedFile, this.#pathOf(sha256));
  }

  async localFile(sha256: string, bytes: number): Promise<string> {
    const path = this.#pathOf(sha256);
    const found = await stat(path).catch(() => undefined);
    if (found?.isFile() && found.size === bytes) return path;
    throw new InputError(
      `the file of the upload ${sha256} is ${found === undefined ? "not" : "damaged"} in this node's folder of uploads. Upload it again; with several nodes, RETAKE_UPLOADS is one folder that all of them share, or s3://bucket/prefix.`,
    );
  }

  async remove(sha256: string): Promise<void> {
    await rm(this.#pathOf(sha256), { force: true });
  }

  #pathOf(sha256: string): string {
    return join(this.stagingFolder, uploadFileName(sha256));
  }
}

/** @throws InputError if it can't be made */
export async function makeStagingFolder(
  folder: string,
  setting: string,
  leftoverMilliseconds: number,
): Promise<void> {
  await makeOwnFolder(folder, setting);
  // What killed uploads left.
  await removeTemporaries(folder, leftoverMilliseconds);
}
