import { uploadIdPattern } from "../wire/lora-answers.ts";

const prefix = "upload:";

/** What a request writes for an uploaded LoRA. */
export function uploadPath(id: string): string {
  return prefix + id;
}

/** Whether a LoRA's path means an upload, whether or not there is such a one. */
export function isUploadPath(path: string): boolean {
  return path.startsWith(prefix);
}

/** An upload's id is its content's SHA-256 in hex. */
export function isUploadId(id: string): boolean {
  return uploadIdPattern.test(id);
}

/** The id that a path names; undefined if it is no upload's. */
export function uploadIdOf(path: string): string | undefined {
  const id = path.slice(prefix.length);
  return isUploadPath(path) && isUploadId(id) ? id : undefined;
}
