import type { Progress } from "../lora-source/download.ts";
import { isLoraLink } from "../lora-source/link.ts";
import { resolveLoraSource } from "../lora-source/resolve.ts";
import type { Settings } from "../schema/settings.ts";
import { isUploadPath, uploadIdOf } from "../uploads/upload-path.ts";
import { findLocalLora } from "../worker/local-lora.ts";
import { UploadNotFoundError } from "./errors.ts";
import type { Uploads } from "./uploads.ts";

interface WantedLora {
  /** As the client gave it: a path in the LoRA folder, a link, or an upload's. */
  readonly path: string;
  /** Whose uploads may be meant. */
  readonly owner: string;
  readonly hfToken: string | undefined;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: Progress) => void;
}

/**
 * The file on this machine of a LoRA that a client named.
 *
 * @throws InputError if it can't be used, TransferError if it can't be fetched, UploadNotFoundError
 */
export async function findLora(
  { path, owner, hfToken, signal, onProgress }: WantedLora,
  { loraFolder, loraSource }: Pick<Settings, "loraFolder" | "loraSource">,
  uploads: Uploads,
): Promise<string> {
  if (isUploadPath(path)) {
    const id = uploadIdOf(path);
    const record = id === undefined ? undefined : await uploads.get(owner, id);
    if (record === undefined) throw new UploadNotFoundError(path);
    return uploads.store.localFile(record.sha256, record.bytes, signal);
  }
  if (!isLoraLink(path)) return findLocalLora(loraFolder, path);
  const token = hfToken === undefined ? {} : { hfToken };
  const found = await resolveLoraSource(path, loraSource, { ...token, signal, onProgress });
  return found.file;
}
