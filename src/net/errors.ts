import { InputError } from "../errors.ts";

/** An address that must not be reached. Nothing was sent to it. */
export class RefusedUrlError extends InputError {}

interface Failure {
  /** Whether the same request may succeed a little later. */
  readonly transient: boolean;
  /** Of the answer, where there was a whole one. */
  readonly status?: number;
  /** How long the other side asked to wait. */
  readonly retryAfterMs?: number | undefined;
  readonly cause?: unknown;
}

/**
 * A request that was allowed and failed: no connection, cut off, too slow, too
 * large, or an unwelcome status. The message holds nothing of the answer's body.
 */
export class TransferError extends Error {
  override readonly name = "TransferError";
  readonly transient: boolean;
  readonly status: number | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(message: string, { transient, status, retryAfterMs, cause }: Failure) {
    super(message, { cause });
    this.transient = transient;
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }
}

/** An answer longer than it may be; the rest of it was not received. */
export class TooLargeError extends TransferError {}
