import { expect, test } from "vitest";
import { eraOfVersion } from "./preview-era.ts";

// The table of eras in the trainer's history, at each of its edges.
test.each([
  ["0.7.6", "0.7.6", null],
  ["0.7.24", "0.7.6", null],
  ["0.7.25", "0.7.25", null],
  ["0.9.13", "0.7.25", null],
  ["0.9.14", "0.9.14", /32/],
  ["0.10.3", "0.9.14", null],
  ["0.10.21", "0.10.21", null],
  ["0.10.24", "0.10.21", /newer/],
  ["0.10.25", "0.10.25", null],
  ["v0.12.26-dev", "0.10.25", null],
  ["1.0.0", "0.10.25", null],
])("ai-toolkit %s is of the era from %s", (version, from, doubt) => {
  const found = eraOfVersion(version);
  expect(found).toMatchObject({ era: { from } });
  if (doubt === null) expect(found).toMatchObject({ doubt: null });
  else expect("doubt" in found && found.doubt).toMatch(doubt);
});

test.each([["0.7.5"], ["kohya"], [""]])("%s has none, and says why", (version) => {
  expect(eraOfVersion(version)).toHaveProperty("none");
});
