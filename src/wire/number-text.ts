// Numbers inside strings, as pydantic 2 reads them: its core is written in
// Rust, so these are Rust's white space and Rust's floats with Python's
// underscores allowed. JavaScript's own readers differ in all three.

const space = /^\p{White_Space}$/u;
/** Digits with single underscores between them; a fraction of zeros is no fraction. */
const integer = /^([+-]?)(\d+(?:_\d+)*)(?:\.0+)?$/;
/** Python reads no longer integers, because the time to read one grows faster than its digits do. */
export const mostDigits = 4300;
const decimal = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;
const word = /^([+-]?)(nan|inf|infinity)$/i;
const singleUnderscores = /^[^_]+(?:_[^_]+)+$/;

/**
 * pydantic also takes a sign or several underscores after a leading zero; here they are refused:
 * "0-1" is not -1. A minus counts as a digit there, and here.
 */
export function parseIntegerText(text: string): bigint | "int_parsing" | "int_parsing_size" {
  const [, sign, digits] = integer.exec(trim(text)) ?? [];
  if (digits === undefined) return "int_parsing";
  const significant = digits.replaceAll("_", "").replace(/^0+/, "");
  if (significant.length + (sign === "-" ? 1 : 0) > mostDigits) return "int_parsing_size";
  const size = BigInt(significant);
  return sign === "-" ? -size : size;
}

export function parseDecimalText(text: string): number | undefined {
  const number = toDecimal(trim(text));
  if (number !== undefined || !singleUnderscores.test(text)) return number;
  // pydantic refuses white space and underscores together, so the text is not trimmed.
  return toDecimal(text.replaceAll("_", ""));
}

function toDecimal(text: string): number | undefined {
  if (decimal.test(text)) return Number(text);
  const [, sign, name] = word.exec(text) ?? [];
  if (name === undefined) return undefined;
  if (name.toLowerCase() === "nan") return Number.NaN;
  return sign === "-" ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
}

/** Character by character: a pattern anchored at the end takes quadratic time on a long run of spaces. */
function trim(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && space.test(text[start]!)) start++;
  while (end > start && space.test(text[end - 1]!)) end--;
  return text.slice(start, end);
}
