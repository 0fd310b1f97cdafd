import { describe, expect, test } from "vitest";
import { readGolden } from "../../test/golden.ts";
import type { Field, FieldError } from "./fields.ts";
import { decimal, integer, truth } from "./fields.ts";
import { parseDecimalText, parseIntegerText } from "./number-text.ts";
import { parsePythonJson } from "./python-json.ts";

type Outcome =
  | { readonly value: string; readonly error?: never }
  | { readonly value?: never; readonly error: string };
type Kind = "integer" | "decimal" | "boolean";
const { rows } = readGolden<{ rows: Record<Kind, [json: string, outcome: Outcome][]> }>(
  "wire/coercions.json",
);

/** pydantic drops leading zeros before it looks for a sign: "0-1" is -1 there. */
const nonsense = /^"\s*[+-]?0+(?:-|_[-_]|_$)/;

function outcomeOf<Value>(field: Field<Value>, json: string): Value | string | undefined {
  const errors: FieldError[] = [];
  const value = field.parse(parsePythonJson(json), [], errors);
  return errors[0]?.type ?? value;
}

describe("values become what pydantic makes of them", () => {
  test.each(rows.integer.filter(([json]) => !nonsense.test(json)))(
    "integer %s",
    (json, outcome) => {
      const expected = outcome.error ?? BigInt(outcome.value);
      expect(outcomeOf(integer({}), json)).toBe(expected);
    },
  );

  test.each(rows.decimal)("decimal %s", (json, outcome) => {
    const word = outcome.value?.replace("inf", "Infinity");
    expect(outcomeOf(decimal({}), json)).toBe(outcome.error ?? Number(word));
  });

  test.each(rows.boolean)("boolean %s", (json, outcome) => {
    expect(outcomeOf(truth(), json)).toBe(outcome.error ?? outcome.value === "True");
  });
});

test("a sign behind a leading zero makes no number", () => {
  expect(parseIntegerText("0-1")).toBe("int_parsing");
  expect(parseIntegerText("0__1")).toBe("int_parsing");
});

test("an integer has at most 4,300 digits, leading zeros and underscores aside", () => {
  expect(parseIntegerText("1".repeat(4300))).toBe(BigInt("1".repeat(4300)));
  expect(parseIntegerText("1".repeat(4301))).toBe("int_parsing_size");
  expect(parseIntegerText(`-${"1".repeat(4300)}`)).toBe("int_parsing_size");
  expect(parseIntegerText(`${"0".repeat(5000)}7.${"0".repeat(5000)}`)).toBe(7n);
});

test("a megabyte that is no number is refused at once", () => {
  const spaces = " ".repeat(1_000_000);
  const started = process.cpuUsage();
  for (const text of [`1${spaces}1`, `${"1_".repeat(500_000)}`, `${spaces}x`]) {
    expect(parseIntegerText(text)).toBe("int_parsing");
    expect(parseDecimalText(text)).toBeUndefined();
  }
  // Time of the processor: a busy machine changes nothing. Quadratic work would take minutes of it.
  expect(process.cpuUsage(started).user).toBeLessThan(5_000_000);
});
