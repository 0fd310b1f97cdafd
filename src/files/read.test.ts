import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { InputError } from "../errors.ts";
import { openRegular, readExactly } from "./read.ts";

const folder = mkdtempSync(join(tmpdir(), "retake-read-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** A file as some network file systems give it: a few bytes with each read. */
function slowly(handle: FileHandle): FileHandle {
  const read = (bytes: Uint8Array, offset: number, length: number, position: number) =>
    handle.read(bytes, offset, Math.min(length, 3), position);
  return { read } as FileHandle; // all that is used of it
}

test("short reads are gone on with; a file that ends before is named", async () => {
  const file = join(folder, "ten");
  writeFileSync(file, "0123456789");
  const handle = await open(file, "r");
  const bytes = new Uint8Array(8);
  await readExactly(slowly(handle), bytes, 1, file);
  expect(Buffer.from(bytes).toString()).toBe("12345678");
  const beyond = readExactly(slowly(handle), bytes, 3, file);
  await expect(beyond).rejects.toThrow(`${file} became shorter while it was read`);
  await handle.close();
});

test.skipIf(process.platform === "win32")("only files are opened", async () => {
  const pipe = join(folder, "pipe");
  execFileSync("sh", ["-c", 'mkfifo "$0"', pipe]);
  for (const path of [pipe, folder, "/dev/zero", join(folder, "none")]) {
    const error = await openRegular(path, ".gguf file").catch((thrown) => thrown);
    expect(error).toBeInstanceOf(InputError);
    expect(error.message).toMatch(/can't be opened: .*Name a \.gguf file that you may read/);
    expect(error.message).toContain(path);
  }
});
