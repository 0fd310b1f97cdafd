import { realpath, stat } from "node:fs/promises";
import { join, resolve, sep } from "node:path";
import { InputError, messageOf } from "../errors.ts";
import { peftConfig, peftWeights } from "../lora/places.ts";
import { isUploadPath, uploadIdOf } from "./lora-path.ts";

/** A request names a LoRA that isn't there. */
export class LoraNotFoundError extends InputError {
  /** As the client gave it. */
  readonly path: string;

  constructor(path: string, message: string) {
    super(message);
    this.path = path;
  }
}

/** An upload that its owner doesn't have, or a path that can't be an upload's. */
export function noSuchUpload(path: string): LoraNotFoundError {
  return new LoraNotFoundError(
    path,
    isUploadPath(path) && uploadIdOf(path) === undefined
      ? "An uploaded LoRA is named upload: and the id that its upload was answered with."
      : "There is no such upload: it was never made with this key, or was deleted.",
  );
}

/** The server's own folder of LoRAs is not there, whatever the client asked for. */
export class LoraFolderError extends Error {
  constructor(folder: string, cause: unknown) {
    // The client sees it: without the folder's path, which stands in the log.
    super(
      "The server's folder of LoRAs can't be used. Its operator makes it, or names another in WORKFLOWS_BASE_PATH.",
      { cause: new Error(`${folder}: ${messageOf(cause)}`, { cause }) },
    );
  }
}

/**
 * The file that a LoRA path of a request names. Nothing outside the folder is
 * ever opened or told apart: whether a file exists there stays unknown.
 *
 * @returns its real path
 * @throws LoraNotFoundError, or LoraFolderError if the server has no such folder
 */
export async function findLocalLora(folder: string, path: string): Promise<string> {
  const { root, file } = await findInside(folder, path, (why) => notFound(path, why));
  const found = await stat(file);
  if (found.isFile() || (found.isDirectory() && (await isPeftFolder(file, root)))) return file;
  throw notFound(path, "it is not a file");
}

/**
 * Where a path of a request leads inside of the server's folder of LoRAs. Nothing outside of it is
 * told apart.
 *
 * @param refusal for a path that leads nowhere in it
 * @returns real paths of the folder and of what lies below it
 * @throws LoraFolderError if the server has no such folder
 */
export async function findInside(
  folder: string,
  path: string,
  refusal: (why: string) => Error,
): Promise<{ readonly root: string; readonly file: string }> {
  if (path === "" || path.includes("\0")) throw refusal("it names no file");
  // Backslashes separate folders on Windows only; no LoRA has one in its name.
  const parts = path.split(/[/\\]/);
  if (parts.includes("..")) {
    throw refusal("it leaves the LoRA folder");
  }
  const root = await realFolder(folder);
  let file: string;
  try {
    // An absolute path is taken as one: clients of the reference may give the folder's own.
    file = await realpath(resolve(root, path));
  } catch {
    throw refusal("there is no such file");
  }
  // A link or an absolute path may lead elsewhere.
  if (!file.startsWith(root + sep)) throw refusal("there is no such file");
  return { root, file };
}

/** The server's folder of LoRAs by its real path. @throws LoraFolderError if there is none */
export async function realFolder(folder: string): Promise<string> {
  return realpath(folder).catch((error: unknown) => {
    throw new LoraFolderError(folder, error);
  });
}

/** A folder as PEFT saves one, with both of its files in the LoRA folder. */
async function isPeftFolder(folder: string, root: string): Promise<boolean> {
  for (const name of [peftWeights, peftConfig]) {
    const file = await realpath(join(folder, name)).catch(() => undefined);
    if (file === undefined || !file.startsWith(root + sep)) return false;
  }
  return true;
}

function notFound(path: string, why: string): LoraNotFoundError {
  return new LoraNotFoundError(
    path,
    `The LoRA ${JSON.stringify(path)} can't be used: ${why}. Give a path of a .safetensors file inside the server's LoRA folder, or an https URL.`,
  );
}
