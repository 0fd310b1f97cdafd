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
