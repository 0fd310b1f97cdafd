import { mostDigits } from "./number-text.ts";

/**
 * Text that is no JSON. Message and offset are those of Python's `json`, which
 * the reference's clients have seen: they are part of the API.
 */
export class JsonSyntaxError extends Error {
  override readonly name = "JsonSyntaxError";
  /** In characters, as Python counts them: code points. */
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}

export type JsonValue =
  | null
  | boolean
  | string
  /** Integers that a double can't hold exactly are bigints. */
  | number
  | bigint
  | JsonValue[]
  | { [key: string]: JsonValue };

/** Deeper than any request; Python's own limit is about 1,000. */
const deepest = 64;

const number = /-?(?:0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?/y;
const whitespace = /[ \t\n\r]*/y;
// biome-ignore lint/suspicious/noControlCharactersInRegex: JSON strings may not hold them
const plain = /[^"\\\x00-\x1f]*/y;
const hex = /[0-9a-fA-F]{4}/y;
const escapes: Readonly<Record<string, string>> = {
  '"': '"',
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};
const words = new Map<string, JsonValue>([
  ["null", null],
  ["true", true],
  ["false", false],
  ["NaN", Number.NaN],
  ["Infinity", Number.POSITIVE_INFINITY],
  ["-Infinity", Number.NEGATIVE_INFINITY],
]);

/**
 * Reads JSON as Python's `json.loads` does: NaN and Infinity are numbers, the
 * last of equal keys counts, integers have any size.
 *
 * @throws JsonSyntaxError
 * @throws RangeError for an integer longer than Python reads
 */
export function parsePythonJson(text: string): JsonValue {
  let at = 0;

  function fail(message: string, index: number): never {
    throw new JsonSyntaxError(message, [...text.slice(0, index)].length);
  }

  function match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (found !== null) at += found[0].length;
    return found;
  }

  function value(depth: number): JsonValue {
    const start = at;
    const next = text[at];
    if (next === '"') return string();
    if (next === "{" || next === "[") {
      if (depth === deepest) fail(`Nested deeper than ${deepest} levels`, start);
      return next === "{" ? object(depth) : array(depth);
    }
    for (const [word, meaning] of words) {
      if (text.startsWith(word, at)) {
        at += word.length;
        return meaning;
      }
    }
    const found = match(number);
    if (found === null) return fail("Expecting value", start);
    const [digits, fraction, exponent] = found;
    if (fraction !== undefined || exponent !== undefined) return Number(digits);
    if (digits!.length > mostDigits + (next === "-" ? 1 : 0)) {
      throw new RangeError(`an integer of more than ${mostDigits} digits`);
    }
    // Adding nothing makes the integer -0 a plain 0.
    const exact = Number(digits) + 0;
    return Number.isSafeInteger(exact) ? exact : BigInt(digits);
  }

  function string(): string {
    const start = at++;
    let result = "";
    for (;;) {
      result += match(plain)![0];
      const end = text[at];
      if (end === undefined) return fail("Unterminated string starting at", start);
      if (end === '"') {
        at++;
        return result;
      }
      if (end !== "\\") return fail("Invalid control character at", at);
      result += escaped(start);
    }
  }

  function escaped(start: number): string {
    const backslash = at++;
    const letter = text[at];
    if (letter === undefined) return fail("Unterminated string starting at", start);
    if (letter === "u") {
      at++;
      // Python looks for the string's end behind the digits before it looks at them.
      const code = at + 4 < text.length ? match(hex) : null;
      return code === null
        ? fail("Invalid \\uXXXX escape", backslash + 1)
        : String.fromCharCode(Number.parseInt(code[0], 16));
    }
    const character = escapes[letter];
    if (character === undefined) return fail("Invalid \\escape", backslash);
    at++;
    return character;
  }

  function object(depth: number): { [key: string]: JsonValue } {
    const entries: [string, JsonValue][] = [];
    at++;
    match(whitespace);
    if (text[at] === "}") {
      at++;
      return {};
    }
    for (;;) {
      if (text[at] !== '"') fail("Expecting property name enclosed in double quotes", at);
      const key = string();
      match(whitespace);
      if (text[at] !== ":") fail("Expecting ':' delimiter", at);
      at++;
      match(whitespace);
      entries.push([key, value(depth + 1)]);
      match(whitespace);
      if (text[at] === "}") {
        at++;
        // Own properties only, `__proto__` included: nothing is inherited from what a client sends.
        return Object.fromEntries(entries);
      }
      if (text[at] !== ",") fail("Expecting ',' delimiter", at);
      at++;
      match(whitespace);
    }
  }

  function array(depth: number): JsonValue[] {
    const items: JsonValue[] = [];
    at++;
    match(whitespace);
    if (text[at] === "]") {
      at++;
      return items;
    }
    for (;;) {
      items.push(value(depth + 1));
      match(whitespace);
      if (text[at] === "]") {
        at++;
        return items;
      }
      if (text[at] !== ",") fail("Expecting ',' delimiter", at);
      at++;
      match(whitespace);
    }
  }

  match(whitespace);
  const result = value(0);
  match(whitespace);
  if (at !== text.length) fail("Extra data", at);
  return result;
}

/**
 * Writes JSON; bigints digit by digit and NaN as null, which Python does not.
 * Doubles too large to hold every integer are written as 1e+18, as Python does:
 * digits that stand for nothing would read as an exact integer.
 */
export function writeJson(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) => {
    if (typeof part === "bigint") return rawJson(String(part));
    if (typeof part !== "number" || Number.isSafeInteger(part) || !Number.isInteger(part))
      return part;
    return rawJson(part.toExponential());
  });
}

/** A piece of JSON text that `JSON.stringify` takes over as it is; TypeScript's library lacks it. */
export const rawJson: (text: string) => object = (
  JSON as typeof JSON & { rawJSON(text: string): object }
).rawJSON;
