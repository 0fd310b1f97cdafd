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
