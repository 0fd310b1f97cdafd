import { CanceledError, InputError } from "../errors.ts";
import { LoraFolderError, LoraNotFoundError } from "../lora-files/local.ts";
import { JobNotFoundError } from "../lora-files/local-job.ts";
import { BusyError } from "../lora-files/turns.ts";
import { TransferError } from "../net/errors.ts";
import {
  FileThereError,
  IdempotencyConflictError,
  JobUploadInUseError,
  JobUploadNotFoundError,
  QueueFullError,
  TooManyJobUploadsError,
  UploadInUseError,
  UploadsFullError,
} from "../queue/errors.ts";
import { ApiError } from "./api-error.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** The code of answers to input that can't be used; INVALID_PARAMETER without. */
    inputErrorCode?: string;
  }
}

/**
 * What a client is answered where other rooms refuse its request. Routes let
 * their errors pass: they become answers here, once.
 *
 * @returns undefined for an error that is no refusal
 */
export function refusalOf(
  error: unknown,
  { inputErrorCode = "INVALID_PARAMETER" }: { readonly inputErrorCode?: string },
): ApiError | undefined {
  if (error instanceof ApiError) return error;
  if (error instanceof LoraFolderError)
    return new ApiError(503, "LORA_FOLDER_NOT_AVAILABLE", error.message);
  if (error instanceof LoraNotFoundError)
    return new ApiError(400, "LORA_NOT_FOUND", error.message, { lora_path: error.path });
  if (error instanceof JobNotFoundError)
    return new ApiError(400, "JOB_NOT_FOUND", error.message, { folder: error.folder });
  if (error instanceof InputError) return new ApiError(400, inputErrorCode, error.message);
  if (error instanceof TransferError) return new ApiError(502, "LORA_NOT_USABLE", error.message);
  if (error instanceof IdempotencyConflictError)
    return new ApiError(409, "IDEMPOTENCY_CONFLICT", error.message);
  if (error instanceof UploadInUseError)
    return new ApiError(409, "LORA_IN_USE", error.message, { request_ids: error.requestIds });
  if (error instanceof JobUploadNotFoundError)
    return new ApiError(404, "JOB_UPLOAD_NOT_FOUND", error.message);
  if (error instanceof JobUploadInUseError)
    return new ApiError(409, "JOB_UPLOAD_IN_USE", error.message, { request_ids: error.requestIds });
  if (error instanceof TooManyJobUploadsError)
    return new ApiError(409, "TOO_MANY_JOB_UPLOADS", error.message);
  if (error instanceof FileThereError) return new ApiError(409, "FILE_THERE", error.message);
  if (error instanceof QueueFullError) return comeAgain(429, "QUEUE_FULL", error);
  if (error instanceof BusyError) return comeAgain(503, "TOO_MANY_DESCRIPTIONS", error);
  if (error instanceof UploadsFullError) return new ApiError(507, "UPLOADS_FULL", error.message);
  // Nobody reads it; the log says why the work ended.
  if (error instanceof CanceledError) return new ApiError(499, "CLIENT_GONE", "The client left.");
  return undefined;
}

function comeAgain(
  status: number,
  code: string,
  { message, retryAfterSeconds }: { readonly message: string; readonly retryAfterSeconds: number },
): ApiError {
  const headers = { "retry-after": String(retryAfterSeconds) };
  return new ApiError(status, code, message, { retry_after: retryAfterSeconds }, headers);
}
