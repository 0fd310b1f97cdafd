import { readFileSync, statSync } from "node:fs";
import { InputError, messageOf } from "../errors.ts";

/** Files that people write by hand are far smaller. */
const largestText = 2 ** 20;

/**
 * A text file that an operator wrote: UTF-8, with or without a byte order mark, which is dropped.
 *
 * @returns undefined if it is not there
 * @throws InputError naming the file and what is wrong with it
 */
export function readTextFile(file: string): string | undefined {
  const bytes = readBytes(file);
  if (bytes === undefined) return undefined;
  const [first, second] = bytes;
  if ((first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff))
    throw unreadable(file, "it is UTF-16. Save it as UTF-8");
  if (bytes.includes(0)) throw unreadable(file, "it holds NUL bytes, so it is no text");
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw unreadable(file, "it is not UTF-8. Save it as UTF-8", error);
  }
}

function readBytes(file: string): Buffer | undefined {
  try {
    const found = statSync(file, { throwIfNoEntry: false });
    if (found === undefined) return undefined;
    // A pipe would be waited for.
    if (!found.isFile()) throw new Error(found.isDirectory() ? "it is a folder" : "it is no file");
    if (found.size > largestText)
      throw new Error(`its ${found.size} bytes are more than ${largestText}`);
    return readFileSync(file);
  } catch (error) {
    throw unreadable(file, messageOf(error), error);
  }
}

function unreadable(file: string, why: string, cause?: unknown): InputError {
  return new InputError(`${file} can't be read: ${why}.`, { cause });
}
