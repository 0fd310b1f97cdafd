/** As many requests wait as may; the client should come again. */
export class QueueFullError extends Error {
  override readonly name = "QueueFullError";
  readonly retryAfterSeconds: number;

  constructor(waiting: number, retryAfterSeconds: number) {
    super(`${waiting} requests are waiting, as many as this server keeps.`);
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** The idempotency key was used for a request that asked for something else. */
export class IdempotencyConflictError extends Error {
  override readonly name = "IdempotencyConflictError";

  constructor() {
    super(
      "This idempotency key came with another request before. Use a new key for a new request.",
    );
  }
}

/** All uploads together would be larger than the server keeps. */
export class UploadsFullError extends Error {
  override readonly name = "UploadsFullError";

  constructor(limit: number) {
    super(
      `Uploads may have ${limit} bytes together here, and this one does not fit in. Delete some (DELETE /v1/loras/{id}), or ask the operator to raise RETAKE_MAX_UPLOADS.`,
    );
  }
}

/** An upload that waiting or running requests need can't be deleted. */
export class UploadInUseError extends Error {
  override readonly name = "UploadInUseError";
  readonly requestIds: readonly string[];

  constructor(requestIds: readonly string[]) {
    super("Requests that have not ended use this LoRA. Wait for them or cancel them first.");
    this.requestIds = requestIds;
  }
}

/** An uploaded job folder that waiting or running requests need can't be deleted. */
export class JobUploadInUseError extends Error {
  override readonly name = "JobUploadInUseError";
  readonly requestIds: readonly string[];

  constructor(requestIds: readonly string[]) {
    super("Requests that have not ended use this folder. Wait for them or cancel them first.");
    this.requestIds = requestIds;
  }
}

/** An owner has as many uploaded job folders that no request used as the server keeps. */
export class TooManyJobUploadsError extends Error {
  override readonly name = "TooManyJobUploadsError";

  constructor(count: number) {
    super(
      `You have ${count} uploaded folders that no request uses, as many as this server keeps. Finish or delete one (DELETE /v1/previews/uploads/{id}).`,
    );
  }
}

/** A file of an uploaded job folder has come already, with another content. */
export class FileThereError extends Error {
  override readonly name = "FileThereError";

  constructor(path: string) {
    super(`${path} is there already, with another content. Begin a new upload for another folder.`);
  }
}

/** There is no such uploaded job folder of this owner, or no such file in it. */
export class JobUploadNotFoundError extends Error {
  override readonly name = "JobUploadNotFoundError";

  constructor(id: string, path?: string) {
    super(
      path === undefined
        ? `There is no uploaded folder ${id}: it was never begun with this key, or was deleted.`
        : `The uploaded folder ${id} has no file ${JSON.stringify(path)} in its manifest.`,
    );
  }
}
