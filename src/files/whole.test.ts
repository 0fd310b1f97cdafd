import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, expect, onTestFinished, test } from "vitest";
import {
  makeWhole,
  removeTemporaries,
  temporaryIn,
  writeFolderWhole,
  writeWhole,
} from "./whole.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-whole-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
});

test("a file is written with its mode, over an older one, in pieces", async () => {
  const path = join(folder, "a");
  writeFileSync(path, "old");
  await writeWhole(path, [Buffer.from("ne"), Buffer.from("w")], 0o600);
  expect(readFileSync(path, "utf8")).toBe("new");
  if (process.platform !== "win32") expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readdirSync(folder)).toEqual(["a"]);
});

test("a failure leaves what was there, and nothing else", async () => {
  mkdirSync(join(folder, "full"));
  writeFileSync(join(folder, "full", "theirs"), "");
  // The last step fails: a folder stands where the file should be.
  await expect(writeWhole(join(folder, "full"), [Buffer.from("x")])).rejects.toThrow();
  await expect(writeFolderWhole(join(folder, "full"), async () => {})).rejects.toThrow("ENOTEMPTY");
  const failing = writeFolderWhole(join(folder, "new"), async (unfinished) => {
    writeFileSync(join(unfinished, "half"), "");
    throw new Error("mine");
  });
  await expect(failing).rejects.toThrow("mine");
  expect(readdirSync(folder, { recursive: true })).toEqual(["full", join("full", "theirs")]);
});

test("two who write the same file at once both write it whole", async () => {
  const path = join(folder, "a");
  const texts = ["first".repeat(1000), "second".repeat(1000)];
  await Promise.all(texts.map((text) => writeWhole(path, [Buffer.from(text)])));
  expect(texts).toContain(readFileSync(path, "utf8"));
  expect(readdirSync(folder)).toEqual(["a"]);
});

test("what killed processes left goes when it is old, and others' files stay", async () => {
  const [old, fresh] = [temporaryIn(folder), temporaryIn(folder)];
  for (const file of [old, fresh, join(folder, ".mine.tmp")]) writeFileSync(file, "");
  utimesSync(old, 1000, 1000);
  await removeTemporaries(folder, 60_000);
  expect(readdirSync(folder).toSorted()).toEqual(
    [fresh.slice(folder.length + 1), ".mine.tmp"].toSorted(),
  );
  await makeWhole(join(folder, "a"), async (temporary) => mkdirSync(temporary));
});
