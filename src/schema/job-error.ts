import type { JobFailure } from "./job.ts";

/** A job that ended without its result. */
export class JobError extends Error {
  override readonly name = "JobError";
  readonly failure: JobFailure;
  /** Another run may go well: the worker died, not the job. */
  readonly retryable: boolean;

  constructor(failure: JobFailure, retryable: boolean, options?: ErrorOptions) {
    super(failure.message, options);
    this.failure = failure;
    this.retryable = retryable;
  }
}
