// What of a training's job folder is needed to take its previews again. The rest (optimizer, caches,
// the trainer's own thumbnails) stays where it is.

/** The configuration: the trainer's own, which counts where both are there, and what its UI writes before. */
export const configNames: readonly string[] = ["config.yaml", ".job_config.json"];
/** Folder of the previews. */
export const previewFolder = "samples";

export function isLoraName(name: string): boolean {
  return /\.safetensors$/i.test(name);
}

export function isPreviewName(name: string): boolean {
  return /\.(?:jpe?g|png|webp)$/i.test(name);
}

/** What a file is in a job folder. */
export type JobFileKind = "config" | "preview" | "lora";

/** No name that a file system refuses or reads as something else: separators, device names' colons, trailing dots. */
const plainName = /^(?!\.)[^\p{C}\p{Zl}\p{Zp}/\\:*?"<>|]{1,200}(?<![ .])$/u;

/**
 * What a file is, by its path in the job folder.
 *
 * @returns undefined for what is no part of a job folder that is needed, and for whatever could lead out of it
 */
export function kindOfJobFile(path: string): JobFileKind | undefined {
  if (configNames.includes(path)) return "config";
  const [first = "", second, ...more] = path.split("/");
  if (more.length > 0) return undefined;
  if (second === undefined) return plainName.test(first) && isLoraName(first) ? "lora" : undefined;
  if (first !== previewFolder || !plainName.test(second)) return undefined;
  return isPreviewName(second) ? "preview" : undefined;
}
