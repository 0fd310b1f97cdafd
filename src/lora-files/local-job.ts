import { stat } from "node:fs/promises";
import { InputError } from "../errors.ts";
import { findInside } from "./local.ts";

/** A request names a training's job folder that isn't there. */
export class JobNotFoundError extends InputError {
  /** As the client gave it. */
  readonly folder: string;

  constructor(folder: string, why: string) {
    super(
      `The job folder ${JSON.stringify(folder)} can't be used: ${why}. Give the path of a folder inside the server's LoRA folder (GET /v1/previews/jobs lists them), or upload it.`,
    );
    this.folder = folder;
  }
}

/**
 * The job folder that a path of a request names, below the server's folder of LoRAs.
 *
 * @returns its real path
 * @throws JobNotFoundError, or LoraFolderError if the server has no such folder
 */
export async function findLocalJob(loraFolder: string, folder: string): Promise<string> {
  const refusal = (why: string) => new JobNotFoundError(folder, why);
  const { file } = await findInside(loraFolder, folder, refusal);
  if ((await stat(file)).isDirectory()) return file;
  throw refusal("it is not a folder");
}
