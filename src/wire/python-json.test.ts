import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { goldenFolder } from "../../test/golden.ts";
import type { JsonValue } from "./python-json.ts";
import { JsonSyntaxError, parsePythonJson, writeJson } from "./python-json.ts";

type Outcome =
  | { readonly value: JsonValue; readonly error?: never }
  | { readonly error: string; readonly offset: number };
/** Recorded values name the numbers that the file itself can't hold. */
function revive(_: string, part: unknown): unknown {
  if (part === null || typeof part !== "object") return part;
  if ("$integer" in part) return BigInt(String(part.$integer));
  return "$float" in part ? Number(part.$float) : part;
}

const file = readFileSync(join(goldenFolder, "wire", "json-texts.json"), "utf8");
const { rows }: { rows: [text: string, outcome: Outcome][] } = JSON.parse(file, revive);

function failureOf(text: string): unknown {
  try {
    parsePythonJson(text);
  } catch (error) {
    return error;
  }
  return undefined;
}

describe("texts are read and refused as Python does", () => {
  test.each(rows)("%j", (text, outcome) => {
    if (outcome.error === undefined) {
      expect(parsePythonJson(text)).toEqual(outcome.value);
    } else {
      const failure = failureOf(text);
      expect(failure).toBeInstanceOf(JsonSyntaxError);
      const { error: message, offset } = outcome;
      expect(failure).toMatchObject({ message, offset });
    }
  });
});

test("a name that means something to JavaScript is a member like any other", () => {
  const value = parsePythonJson('{"__proto__": {"polluted": true}}');
  expect(Object.keys(value as object)).toEqual(["__proto__"]);
  expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
  expect(value).not.toHaveProperty("polluted");
});

test("nesting ends at 64 levels, whatever the length of the text", () => {
  expect(parsePythonJson("[".repeat(64) + "]".repeat(64))).toBeDefined();
  for (const opening of ["[", '{"a":', '[{"a":']) {
    expect(failureOf(opening.repeat(200_000))).toBeInstanceOf(JsonSyntaxError);
  }
});

test("integers of more than 4,300 digits are not read", () => {
  const digits = "1".repeat(4300);
  expect(parsePythonJson(`-${digits}`)).toBe(-BigInt(digits));
  expect(failureOf(`[${digits}1]`)).toBeInstanceOf(RangeError);
});

test("numbers are written so that they read back as what they are", () => {
  expect(writeJson([2n ** 64n - 1n, 2 ** 63, 1e21, 64, 0.5, Number.NaN])).toBe(
    "[18446744073709551615,9.223372036854776e+18,1e+21,64,0.5,null]",
  );
});
