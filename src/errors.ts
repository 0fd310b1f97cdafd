/**
 * Input that can't be used: a field, a file, a combination of settings.
 * The message is one paragraph that names what was wrong and what to do.
 * The command line exits with 2, the server answers 4xx.
 */
export class InputError extends Error {
  override readonly name = "InputError";

  /** @param options.longest characters of the message, where it is a list that must be whole */
  constructor(message: string, options?: ErrorOptions & { readonly longest?: number }) {
    super(paragraph(message, options?.longest ?? longestMessage), options);
  }
}

/** A file that should be there is not. The user can fetch it again. */
export class MissingFileError extends InputError {}

/** The longest message; what a person has to do stands at its end. */
const longestMessage = 2000;

/**
 * Names out of a file go into messages, and files are hostile: one could bring
 * lines of its own, move the terminal's cursor or be a megabyte long.
 */
function paragraph(message: string, longest: number): string {
  const half = longest / 2;
  const short =
    message.length <= longest ? message : `${message.slice(0, half)} … ${message.slice(-half)}`;
  return oneLine(short);
}

/** Text of a stranger's file, fit for a terminal: no lines and no control characters of its own. */
export function oneLine(text: string): string {
  return text
    .replaceAll(/[\r\n\p{Zl}\p{Zp}]+/gu, " ")
    .replaceAll(
      /[\p{Cc}\p{Bidi_Control}]/gu,
      (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`,
    );
}

/** How many items one message lists. */
export const mostListed = 8;

/** Names come from files: a longer one is cut. */
const longestListed = 200;

/** The first of many names or faults, and how many more there are. */
export function listed(items: readonly string[]): string {
  const shown = items
    .slice(0, mostListed)
    .map((item) => (item.length > longestListed ? `${item.slice(0, longestListed)}…` : item));
  const more = items.length - mostListed;
  return shown.join("; ") + (more > 0 ? `; and ${more} more` : "");
}

/** The caller's signal stopped the work between two steps. Nothing was written. */
export class CanceledError extends Error {
  override readonly name = "CanceledError";

  constructor() {
    super("canceled");
  }
}

/** Of what the runtime says, which may be a shader's whole source. */
const longestCause = 500;

/** A device failed in the middle of a run: its driver was reset, or its memory did not suffice. What lay on it is gone. */
export class DeviceLostError extends Error {
  override readonly name = "DeviceLostError";

  constructor(device: string, cause: unknown) {
    super(
      `--device ${device}: the device failed in the middle of a run: its driver was reset, or its memory is too small ` +
        "for this picture. Try again; then ask for a smaller one, or --storage int8. " +
        `The runtime says: ${oneLine(messageOf(cause)).slice(0, longestCause)}`,
      { cause },
    );
  }
}

/** The message of anything that can be thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
