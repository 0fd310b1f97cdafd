/**
 * Input that can't be used: a field, a file, a combination of settings.
 * The message is one paragraph that names what was wrong and what to do.
 * The command line exits with 2, the server answers 4xx.
 */
export class InputError extends Error {
  override readonly name = "InputError";
}

/** The caller's signal stopped the work between two steps. Nothing was written. */
export class CanceledError extends Error {
  override readonly name = "CanceledError";

  constructor() {
    super("canceled");
  }
}

/** The message of anything that can be thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
