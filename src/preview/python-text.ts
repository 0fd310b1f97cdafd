import { InputError } from "../errors.ts";

// Numbers and blanks as the trainer's Python reads them out of a prompt.

/** What `str.strip` takes off: Unicode's blanks and four separators, not the byte order mark. */
const blank = String.raw`[\t-\r\x1c-\x20\x85\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]`;
const ends = new RegExp(`^${blank}+|${blank}+$`, "g");

export function strip(text: string): string {
  return text.replaceAll(ends, "");
}

/** `int(text)`. @throws InputError as Python throws ValueError */
export function pythonInt(text: string): bigint {
  const digits = inAscii(strip(text));
  const found = /^([+-]?)(\d+(?:_\d+)*)$/.exec(digits);
  if (found === null) throw new InputError(`"${text}" is not a whole number to the trainer`);
  const value = BigInt(found[2]!.replaceAll("_", ""));
  return found[1] === "-" ? -value : value;
}

/** `float(text)`. @throws InputError as Python throws ValueError */
export function pythonFloat(text: string): number {
  const stripped = inAscii(strip(text)).toLowerCase();
  if (/^[+-]?(?:inf|infinity)$/.test(stripped)) {
    return stripped.startsWith("-") ? -Infinity : Infinity;
  }
  if (/^[+-]?nan$/.test(stripped)) return Number.NaN;
  const part = String.raw`\d+(?:_\d+)*`;
  const number = new RegExp(`^[+-]?(?:${part}\\.?(?:${part})?|\\.${part})(?:e[+-]?${part})?$`);
  if (!number.test(stripped)) throw new InputError(`"${text}" is not a number to the trainer`);
  return Number(stripped.replaceAll("_", ""));
}

/** Python takes every script's decimal digits. */
function inAscii(text: string): string {
  return text.replaceAll(/\p{Nd}/gu, (digit) => String(digitValue(digit.codePointAt(0)!)));
}

/** Unicode keeps each script's ten digits together and in order, and where two scripts meet, tens follow tens. */
function digitValue(code: number): number {
  let below = 0;
  while (/\p{Nd}/u.test(String.fromCodePoint(code - below - 1))) below++;
  return below % 10;
}
