import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { InputError } from "../errors.ts";
import { hashFile } from "../files/hash.ts";
import { openRegular, readExactly } from "../files/read.ts";
import { isLoraLink } from "../lora-files/lora-path.ts";
import type { NamedLora } from "../preview/explain-lora.ts";
import type { Environment } from "../preview/placeholders.ts";
import { stateFile } from "../preview/state-file.ts";
import { stateJob } from "../preview/state-job.ts";
import type { StatedLora, StatedRequest } from "../preview/stated-request.ts";

/** Pictures of the largest size that is drawn stay below, uncompressed. */
const largestFile = 2 ** 28;

/** The request that a file on this machine states. @throws InputError if it states none */
export async function readStatedFile(
  path: string,
  sample: number | undefined,
): Promise<StatedRequest> {
  const environment = process.env;
  const isJob = (await stat(path).catch(() => undefined))?.isDirectory() === true;
  if (isJob) return stateJob(path, sample, environment);
  try {
    return await readFile(path, sample, environment);
  } catch (error) {
    // The trainer writes nothing into its previews: their folder says what they are.
    if (error instanceof InputError && basename(dirname(resolve(path))) === "samples")
      return stateJob(path, sample, environment);
    throw error;
  }
}

async function readFile(
  path: string,
  sample: number | undefined,
  environment: Environment,
): Promise<StatedRequest> {
  const { handle, size } = await openRegular(path, "picture, request or configuration");
  try {
    if (size > largestFile) {
      throw new InputError(`${path} has ${size} bytes, more than any picture or request.`);
    }
    const bytes = new Uint8Array(size);
    await readExactly(handle, bytes, 0, path);
    return await stateFile(bytes, path, { sample, environment });
  } finally {
    await handle.close();
  }
}

/**
 * Looks for the file of a LoRA that another file names: beside that file, and in the current folder.
 *
 * @param from the file that names it
 */
export async function findStatedLora(
  { name, sha256, file }: StatedLora,
  from: string,
): Promise<NamedLora> {
  if (file !== null) return { name, file };
  if (isLoraLink(name)) return { name, file: name };
  const places = [dirname(from), "."].flatMap((folder) =>
    [name, `${name}.safetensors`].map((file) => join(folder, file)),
  );
  // A request of one's own may name the whole path.
  const found = [...places, name].find((place) => existsSync(place));
  if (found === undefined) {
    return {
      name,
      file: { missing: `it is neither beside ${from} nor here. Give it as --lora FILE.` },
    };
  }
  if (sha256 !== null && (await hashFile(found, "sha256")) !== sha256) {
    return {
      name,
      file: {
        missing: `${found} is another file than the picture's. Give the right one as --lora FILE.`,
      },
    };
  }
  return { name, file: found };
}
