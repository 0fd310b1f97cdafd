import { InputError } from "../errors.ts";
import { isUploadPath, uploadIdOf } from "./upload-path.ts";

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
