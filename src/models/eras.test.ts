import { expect, test } from "vitest";
import { eraOfVersion } from "./eras.ts";

// The table of eras in the trainer's history, at each of its edges.
test.each([
  ["0.7.6", ["0.7.6"], null],
  ["0.7.24", ["0.7.6"], null],
  ["0.7.25", ["0.7.25"], null],
  ["0.9.13", ["0.7.25"], null],
  ["0.9.14", ["0.9.14", "0.7.25"], /32/],
  ["0.10.3", ["0.9.14"], null],
  ["0.10.20", ["0.9.14"], null],
  ["0.10.21", ["0.10.21"], null],
  ["0.10.23", ["0.10.21"], null],
  ["0.10.24", ["0.10.21", "0.10.25"], /N updates/],
  ["0.10.25", ["0.10.25"], null],
  ["v0.12.26-dev", ["0.10.25"], null],
  ["1.0.0", ["0.10.25"], null],
])("ai-toolkit %s is of the eras %j", (version, froms, doubt) => {
  const found = eraOfVersion(version);
  if ("none" in found) throw new Error(found.none);
  expect(found.candidates.map(({ name }) => name)).toEqual(froms.map((from) => `preview-${from}`));
  expect(found.profile).toBe(found.candidates[0]);
  if (doubt === null) expect(found.doubt).toBeNull();
  else expect(found.doubt).toMatch(doubt);
});

test.each([["0.7.5"], ["kohya"], [""]])("%s has none, and says why", (version) => {
  expect(eraOfVersion(version)).toHaveProperty("none");
});
