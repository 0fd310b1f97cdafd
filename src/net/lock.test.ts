import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { CanceledError } from "../errors.ts";
import { TransferError } from "./errors.ts";
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

/** Another process that holds a lock until it is killed. */
async function otherHolder(file: string): Promise<ChildProcess> {
  const script = `
    import { withLock } from "./lock.ts";
    const [file] = process.argv.slice(1);
    await withLock(file, new AbortController().signal, async () => {
      process.stdout.write("held");
      await new Promise((done) => setTimeout(done, 60_000));
    });`;
  const args = ["--input-type=module", "--eval", script, "--", file];
  const cwd = fileURLToPath(new URL(".", import.meta.url));
  const child = spawn(process.execPath, args, { cwd, stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  await once(child.stdout!, "data");
  return child;
}

test("nobody waits for a holder that was killed, but for one that lives", async () => {
  const file = join(folder, "d");
  const holder = await otherHolder(file);
  const waiting = withLock(file, AbortSignal.timeout(500), async () => 1);
  await expect(waiting).rejects.toThrow(CanceledError);
  holder.kill("SIGKILL");
  await once(holder, "exit");
  expect(await withLock(file, AbortSignal.timeout(5000), async () => 1)).toBe(1);
  expect(readdirSync(folder).filter((name) => name.startsWith("d"))).toEqual([]);
});

test("a dead holder on another machine is waited for: nobody can tell from here", async () => {
  const file = join(folder, "e");
  const holder = await otherHolder(file);
  const name = readFileSync(`${file}.holder`, "utf8").split(" ");
  holder.kill("SIGKILL");
  await once(holder, "exit");
  writeFileSync(`${file}.holder`, name.with(2, "another-boot").join(" "));
  const waiting = withLock(file, AbortSignal.timeout(500), async () => 1);
  await expect(waiting).rejects.toThrow(CanceledError);
});
