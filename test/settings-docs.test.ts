import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { variableTexts } from "../src/config/values.ts";
import { serverVariables } from "../src/config/variables.ts";

const page = readFileSync(new URL("../docs/server.md", import.meta.url), "utf8");

/** Name, what it takes and its default, of each row of the tables of settings. */
const rows = [...page.matchAll(/^\| `([A-Z_]+)` \| (.*?) \| (.*?) \| .* \|$/gm)].map(
  ([, name, takes, unset]) => [name!, takes!, unset!] as const,
);
const plain = (cell: string) => cell.replaceAll("`", "");

test("docs/server.md has every setting once, and no other", () => {
  expect(rows.map(([name]) => name).toSorted()).toEqual(Object.keys(serverVariables).toSorted());
});

test.each(Object.entries(serverVariables))("%s: bounds and default stand there", (name, schema) => {
  const { takes, unset } = variableTexts.get(schema)!;
  const row = rows.find(([documented]) => documented === name);
  expect(row?.slice(1).map(plain)).toEqual([takes, unset]);
});

test("each default is one that the setting takes", () => {
  for (const [name, schema] of Object.entries(serverVariables)) {
    expect(schema.safeParse(undefined).success, name).toBe(true);
  }
});
