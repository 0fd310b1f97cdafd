import { randomUUID } from "node:crypto";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { ResultFolder } from "./results.ts";

const folder = mkdtempSync(join(tmpdir(), "retake-results-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("a folder that is gone can't be written to, and is not made again", async () => {
  const gone = join(folder, "gone");
  const results = await ResultFolder.open(gone);
  rmSync(gone, { recursive: true });
  const writing = results.write(`${randomUUID()}_output_0.jpg`, new Uint8Array(3));
  await expect(writing).rejects.toThrow(/ENOENT|no such file/);
  expect(existsSync(gone)).toBe(false);
});

test.each(["../secret.jpg", "a/b.jpg", "", ".."])("%j is no result's name", async (name) => {
  const results = await ResultFolder.open(join(folder, "names"));
  expect(() => results.fileOf(name)).toThrow(/not the name of a result/);
});
