import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { makeFolders } from "./make-folders.ts";

const folder = mkdtempSync(join(tmpdir(), "make-folders-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("folders are made with those that they lie in, and may be there", async () => {
  const path = join(folder, "a", "b", "c");
  for (const _ of ["new", "there"]) await makeFolders(path);
  expect(statSync(path).isDirectory()).toBe(true);
});

test("a file is in the way", async () => {
  writeFileSync(join(folder, "file"), "");
  await expect(makeFolders(join(folder, "file"))).rejects.toThrow(/EEXIST/);
  await expect(makeFolders(join(folder, "file", "in", "it"))).rejects.toThrow(/ENOTDIR/);
});

test.skipIf(!existsSync("/proc/self"))(
  "a folder that takes none is an error, not a wait",
  async () => {
    await expect(makeFolders("/proc/none/pictures")).rejects.toThrow(/ENOENT/);
  },
);
