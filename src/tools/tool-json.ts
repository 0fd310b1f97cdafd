import { InputError } from "../errors.ts";
import type { JsonValue } from "../wire/python-json.ts";
import { JsonSyntaxError, parsePythonJson } from "../wire/python-json.ts";

/**
 * JSON as the tools write it: Python's, with NaN and integers of any size.
 *
 * @param what names the text in the message
 * @throws InputError naming what is wrong
 */
export function parseToolJson(text: string, what: string): JsonValue {
  try {
    return parsePythonJson(text);
  } catch (error) {
    if (!(error instanceof JsonSyntaxError) && !(error instanceof RangeError)) throw error;
    throw new InputError(`${what} is no JSON: ${error.message}. The file was changed or cut.`, {
      cause: error,
    });
  }
}

export function isObject(value: JsonValue | undefined): value is { [key: string]: JsonValue } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Text or number as text; null for what is neither: `String` of an object runs its `toString`, which a file may name. */
export function plainText(value: JsonValue | undefined): string | null {
  return typeof value === "string" || typeof value === "number" || typeof value === "bigint"
    ? String(value)
    : null;
}

/** A number, written as one or as text; NaN for anything else. */
export function plainNumber(value: JsonValue | undefined): number {
  const text = plainText(value)?.trim() ?? "";
  return text === "" ? Number.NaN : Number(text);
}
