import { InputError } from "../errors.ts";

/**
 * Which of several is meant.
 *
 * @param asked undefined: nothing was said, and the first counts
 * @param what they are, for the messages
 * @throws InputError if there is none with that number
 */
export function sampleAt(
  asked: number | undefined,
  count: number,
  what: string,
): { readonly index: number; readonly warnings: readonly string[] } {
  const index = asked ?? 0;
  if (!Number.isInteger(index) || index < 0 || index >= count) {
    throw new InputError(
      count === 0
        ? `There are no ${what} in it.`
        : `sample ${index}: there are ${count} ${what}, counted from 0.`,
    );
  }
  const isGuess = asked === undefined && count > 1;
  return {
    index,
    warnings: isGuess
      ? [
          `It has ${count} ${what}: number 0 is taken. Another is asked for by its number (--sample I, ?sample=I).`,
        ]
      : [],
  };
}
