import { existsSync, mkdtempSync, rmdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CanceledError } from "../errors.ts";
import { TransferError } from "../net/errors.ts";
import { tryWithLock, withLock } from "./lock.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-lock-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const never = new AbortController().signal;

test("one at a time, and free again after a failure", async () => {
  const file = join(folder, "a");
  let inside = 0;
  const work = async () => {
    expect(++inside).toBe(1);
    await wait(20);
    expect(await tryWithLock(file, never, async () => 1)).toBeUndefined();
    inside--;
  };
  await Promise.all([1, 2, 3].map(() => withLock(file, never, work)));
  const failing = withLock(file, never, () => Promise.reject(new Error("mine")));
  await expect(failing).rejects.toThrow("mine");
  expect(await tryWithLock(file, never, async () => 1)).toEqual({ result: 1 });
  expect(existsSync(`${file}.lock`)).toBe(false);
});

test("the signal ends the wait", async () => {
  const file = join(folder, "b");
  await withLock(file, never, async () => {
    const waiting = withLock(file, AbortSignal.timeout(50), async () => 1);
    await expect(waiting).rejects.toThrow(CanceledError);
  });
});

// As after a stand-still of minutes. The lock looks at itself every five seconds.
test("a lock that another took over ends the work", async () => {
  const file = join(folder, "c");
  const work = withLock(file, never, async (signal) => {
    rmdirSync(`${file}.lock`);
    await wait(20_000, undefined, { signal });
  });
  await expect(work).rejects.toThrow(TransferError);
});
