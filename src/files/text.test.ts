import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readTextFile } from "./text.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-text-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

function fileWith(content: string | Buffer): string {
  const file = join(folder, "file");
  writeFileSync(file, content);
  return file;
}

test("UTF-8, with and without a byte order mark, and what is not there", () => {
  expect(readTextFile(fileWith("A=ä"))).toBe("A=ä");
  expect(readTextFile(fileWith("\uFEFFA=1"))).toBe("A=1");
  expect(readTextFile(fileWith(""))).toBe("");
  expect(readTextFile(join(folder, "none"))).toBeUndefined();
});

test.each([
  ["UTF-16, little end first", Buffer.from("\uFEFFA=1", "utf16le"), "it is UTF-16"],
  ["UTF-16, big end first", Buffer.from("\uFEFFA=1", "utf16le").swap16(), "it is UTF-16"],
  ["NUL", "A=1\0", "it holds NUL bytes"],
  ["Latin-1", Buffer.from("A=ä", "latin1"), "it is not UTF-8"],
  ["too long", Buffer.alloc(2 ** 20 + 1, "a"), "are more than 1048576"],
])("%s is refused by the file's name", (_, content, message) => {
  const file = fileWith(content);
  expect(() => readTextFile(file)).toThrow(`${file} can't be read: `);
  expect(() => readTextFile(file)).toThrow(message);
});

test("a folder is refused", () => {
  mkdirSync(join(folder, "folder"));
  expect(() => readTextFile(join(folder, "folder"))).toThrow("it is a folder");
});

// The superuser reads everything.
test.skipIf(process.getuid?.() === 0)("a file without access is refused", () => {
  const file = fileWith("A=1");
  chmodSync(file, 0);
  expect(() => readTextFile(file)).toThrow(`${file} can't be read: EACCES`);
});
