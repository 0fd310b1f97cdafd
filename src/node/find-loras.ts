import type { LinkSettings, Settings } from "../config/settings.ts";
import { InputError } from "../errors.ts";
import { withoutPaths } from "../files/without-paths.ts";
import type { PictureJob } from "../job/job.ts";
import { JobError } from "../job/job.ts";
import type { Progress } from "../lora-files/download.ts";
import { findLocalLora, LoraFolderError, noSuchUpload } from "../lora-files/local.ts";
import { isLoraLink, isUploadPath, uploadIdOf } from "../lora-files/lora-path.ts";
import { resolveLoraSource } from "../lora-files/resolve.ts";
import { TransferError } from "../net/errors.ts";
import type { RequestRecord } from "../queue/record.ts";
import type { TokenSeal } from "../queue/token-seal.ts";
import type { Uploads } from "../queue/upload-records.ts";
import { progressLog } from "./progress-log.ts";

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
 * @throws InputError if it can't be used, LoraNotFoundError if it isn't there, TransferError if it can't be fetched
 */
export async function findLora(
  { path, owner, hfToken, signal, onProgress }: WantedLora,
  settings: LinkSettings & Pick<Settings, "loraFolder">,
  uploads: Uploads,
): Promise<string> {
  if (isUploadPath(path)) {
    const id = uploadIdOf(path);
    const record = id === undefined ? undefined : await uploads.get(owner, id);
    if (record === undefined) throw noSuchUpload(path);
    return uploads.contents.store.localFile(record.sha256, record.bytes, signal);
  }
  if (!isLoraLink(path)) return findLocalLora(settings.loraFolder, path);
  const token = hfToken === undefined ? {} : { hfToken };
  const found = await resolveLoraSource(path, settings, { ...token, signal, onProgress });
  return found.file;
}

export interface LoraSources {
  readonly settings: Settings;
  readonly uploads: Uploads;
  readonly seal: TokenSeal;
  readonly log: { readonly info: (fields: object, message: string) => void };
}

/**
 * The files of a request's LoRAs on the node that runs it.
 *
 * @throws JobError if one can't be used, or the token that came for it can't be read any more
 */
export async function lorasForRun(
  record: RequestRecord,
  { loras }: Pick<PictureJob, "loras">,
  signal: AbortSignal,
  { settings, uploads, seal, log }: LoraSources,
): Promise<string[]> {
  if (loras.length === 0) return [];
  const onProgress = progressLog(log, { request_id: record.id }, "downloading a LoRA");
  const hfToken = tokenOf(record, seal) ?? settings.hub.token;
  const wanted = { owner: record.owner, hfToken, signal, onProgress };
  try {
    const files: string[] = [];
    for (const { path } of loras) {
      files.push(await findLora({ ...wanted, path }, settings, uploads));
    }
    return files;
  } catch (error) {
    if (error instanceof LoraFolderError)
      throw failure("LORA_FOLDER_NOT_AVAILABLE", error.message, error);
    const known = [InputError, TransferError];
    if (error instanceof Error && known.some((kind) => error instanceof kind)) {
      // A cache that can't be written, for one, is named by its folder: the client's own names stay.
      const own = new Map(loras.map(({ path }) => [path, path]));
      throw failure("LORA_NOT_USABLE", withoutPaths(error.message, own), error);
    }
    throw error;
  }
}

/** Never another token in its place: what it opens is another account's. */
function tokenOf({ id, sealed_token }: RequestRecord, seal: TokenSeal): string | undefined {
  if (sealed_token === null) return undefined;
  const token = seal.open(sealed_token, id);
  if (token !== undefined) return token;
  throw failure(
    "HF_TOKEN_LOST",
    "This request's hf_token can't be read any more: the server was started again since, or another node took the request. Send the request again. An operator keeps tokens readable by setting RETAKE_SECRET to the same value on all nodes.",
  );
}

function failure(code: string, message: string, cause?: Error): JobError {
  const options = cause === undefined ? {} : { cause };
  return new JobError({ code, message, promptIndex: null, images: [] }, false, options);
}
