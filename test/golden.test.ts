import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { expect, test } from "vitest";
import { goldenFolder, manifest } from "./golden.ts";

const files = readdirSync(goldenFolder, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map(({ parentPath, name }) =>
    relative(goldenFolder, join(parentPath, name)).replaceAll("\\", "/"),
  )
  .filter((name) => name !== "manifest.json");

test("the manifest names every golden file, and none that is not there", () => {
  expect(Object.keys(manifest).toSorted()).toEqual(files.toSorted());
});

test.each(files)("%s is as it was written", (name) => {
  const sha256 = createHash("sha256")
    .update(readFileSync(join(goldenFolder, name)))
    .digest("hex");
  expect(sha256).toBe(manifest[name]?.sha256);
});
