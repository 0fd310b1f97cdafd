import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FolderError, makeOwnFolder } from "./own-folder.ts";

let shared: string;
beforeEach(() => {
  shared = mkdtempSync(join(tmpdir(), "retake-shared-"));
  chmodSync(shared, 0o1777);
});
afterEach(() => rmSync(shared, { recursive: true }));

const modeOf = (path: string) => statSync(path).mode & 0o777;

describe.skipIf(process.platform === "win32")("where everybody may make entries", () => {
  test("a new folder is this user's alone", async () => {
    const folder = join(shared, "a", "b");
    await makeOwnFolder(folder, "SETTING");
    expect([modeOf(join(shared, "a")), modeOf(folder)]).toEqual([0o700, 0o700]);
    await makeOwnFolder(folder, "SETTING");
    await makeOwnFolder(join(shared, "seen"), "SETTING", 0o755);
    expect(modeOf(join(shared, "seen")) & 0o022).toBe(0);
  });

  test("one that its group may write to is closed to it", async () => {
    const folder = join(shared, "group");
    mkdirSync(folder);
    chmodSync(folder, 0o775);
    await makeOwnFolder(folder, "SETTING");
    expect(modeOf(folder)).toBe(0o755);
  });

  test.each<[string, (path: string) => void, RegExp]>([
    ["a link", (path) => symlinkSync(tmpdir(), path), /is a link/],
    [
      "one that everybody may write to",
      (path) => {
        mkdirSync(path);
        chmodSync(path, 0o777);
      },
      /can be written by everybody/,
    ],
    ["a file", (path) => writeFileSync(path, ""), /can't be made: .*Name one that can be written/],
  ])("%s is refused by name", async (_, make, why) => {
    const folder = join(shared, "theirs");
    make(folder);
    const error = await makeOwnFolder(folder, "SETTING").catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(FolderError);
    expect(String(error)).toMatch(why);
    expect(String(error)).toContain(`SETTING: `);
    expect(String(error)).toContain(folder);
  });

  test.skipIf(process.getuid?.() !== 0)(
    "another user's, and what is in it, is refused",
    async () => {
      const theirs = join(shared, "theirs");
      mkdirSync(join(theirs, "cache"), { recursive: true });
      chownSync(theirs, 65_534, 65_534);
      for (const folder of [theirs, join(theirs, "cache"), join(theirs, "new")]) {
        await expect(makeOwnFolder(folder, "SETTING")).rejects.toThrow(
          `SETTING: ${theirs} belongs to another user`,
        );
      }
    },
  );
});

test("elsewhere a folder is as whoever chose it made it", async () => {
  chmodSync(shared, 0o700);
  mkdirSync(join(shared, "open"));
  chmodSync(join(shared, "open"), 0o777);
  symlinkSync(join(shared, "open"), join(shared, "link"));
  await makeOwnFolder(join(shared, "link"), "SETTING");
  await makeOwnFolder(join(shared, "open"), "SETTING");
  await makeOwnFolder(join(shared, "link", "new"), "SETTING");
  expect(existsSync(join(shared, "open", "new"))).toBe(true);
});
