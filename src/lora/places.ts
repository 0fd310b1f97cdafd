import { existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { InputError } from "../errors.ts";
import { identityOf } from "../files/read.ts";

/** The names that PEFT gives the files of a folder. */
export const peftWeights = "adapter_model.safetensors";
export const peftConfig = "adapter_config.json";

/**
 * Where a LoRA's weights lie, and the configuration that belongs to them: PEFT
 * saves a folder, the weights in one file, their alpha in another.
 *
 * @throws InputError for a folder that PEFT did not save
 */
export function placesOf(path: string): { weights: string; config?: string } {
  const isFolder = statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  const weights = isFolder ? join(path, peftWeights) : path;
  if (isFolder && !existsSync(weights)) {
    throw new InputError(
      `${path} is a folder without ${peftWeights}. Name a .safetensors file, or a folder that PEFT saved.`,
    );
  }
  const config = join(dirname(weights), peftConfig);
  const belongs = isFolder || weights.endsWith(peftWeights);
  return belongs && existsSync(config) ? { weights, config } : { weights };
}

/** Names the content that a LoRA's path has now: files that are written again are another. */
export async function loraIdentity(path: string): Promise<string> {
  try {
    const { weights, config } = placesOf(path);
    return [
      await identityOf(weights),
      ...(config === undefined ? [] : [await identityOf(config)]),
    ].join("|");
  } catch {
    // A file that isn't there is described by whoever opens it.
    return path;
  }
}
