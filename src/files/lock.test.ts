import { once } from "node:events";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { beforeEach, expect, onTestFinished, test } from "vitest";
import { ScriptProcess } from "../../test/processes.ts";
import { CanceledError } from "../errors.ts";
import { Lock, LockError, LockLostError, tryWithLock, withLock } from "./lock.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-lock-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
});

const never = new AbortController().signal;

const hold = `
  import { rmSync } from "node:fs";
  import { Lock } from "./src/files/lock.ts";
  const [file, how] = args;
  while (Lock.tryTake(file) === undefined) if (how === "by force") rmSync(file + ".lock", { force: true });
  process.stdout.write("held");
  setInterval(() => {}, 1000);`;

/** Another process that holds a lock until it is killed. */
async function otherHolder(file: string, how = ""): Promise<ScriptProcess> {
  const child = new ScriptProcess(hold, [file, how]);
  await child.printed();
  return child;
}

test("one at a time, in the same process too, and free again after a failure", async () => {
  const file = join(folder, "a");
  let inside = 0;
  let waits = 0;
  const onWait = () => void waits++;
  const work = async () => {
    expect(++inside).toBe(1);
    await wait(20);
    expect(await tryWithLock(file, never, async () => 1)).toBeUndefined();
    inside--;
  };
  await Promise.all([1, 2, 3].map(() => withLock(file, { signal: never, onWait }, work)));
  expect(waits).toBe(2);
  const failing = withLock(file, { signal: never }, () => Promise.reject(new Error("mine")));
  await expect(failing).rejects.toThrow("mine");
  expect(await tryWithLock(file, never, async () => 1)).toEqual({ result: 1 });
  expect(readdirSync(folder)).toEqual([]);
});

test("the signal ends the wait", async () => {
  const file = join(folder, "a");
  const lock = Lock.tryTake(file);
  const stop = new AbortController();
  const waiting = withLock(
    file,
    { signal: stop.signal, onWait: () => stop.abort() },
    async () => 1,
  );
  await expect(waiting).rejects.toThrow(CanceledError);
  lock?.release();
});

test("nobody waits for a holder that was killed, but for one that lives", async () => {
  const file = join(folder, "a");
  const holder = await otherHolder(file);
  for (let i = 0; i < 20; i++) expect(Lock.tryTake(file)).toBeUndefined();
  await holder.kill();
  expect(existsSync(`${file}.lock`)).toBe(true);
  const lock = Lock.tryTake(file);
  expect(lock).toBeDefined();
  lock?.release();
  expect(readdirSync(folder)).toEqual([]);
});

test("processes that take and release a lock all the time never hold it together", async () => {
  const file = join(folder, "a");
  // Who is alone finds no mark of another's, and its own still there.
  const contend = `
    import { mkdirSync, rmdirSync } from "node:fs";
    import { Lock } from "./src/files/lock.ts";
    const [file] = args;
    const end = Date.now() + 2000;
    let turns = 0;
    while (Date.now() < end) {
      const lock = Lock.tryTake(file);
      if (lock === undefined) continue;
      mkdirSync(file + ".mark");
      rmdirSync(file + ".mark");
      lock.release();
      turns++;
    }
    process.stdout.write(String(turns));`;
  const children = [1, 2, 3].map(() => new ScriptProcess(contend, [file]));
  for (const { stdout, stderr } of await Promise.all(children.map((child) => child.ended()))) {
    expect(stderr).toBe("");
    expect(Number(stdout)).toBeGreaterThan(0);
  }
  expect(readdirSync(folder)).toEqual([]);
});

test("a lock file that somebody removed is made again, and others are still kept out", async () => {
  const file = join(folder, "a");
  await withLock(file, { signal: never }, async (signal, lock) => {
    rmSync(`${file}.lock`);
    while (!existsSync(`${file}.lock`)) await wait(50);
    expect(Lock.tryTake(file)).toBeUndefined();
    lock.requireHeld();
    expect(signal.aborted).toBe(false);
  });
  expect(readdirSync(folder)).toEqual([]);
});

test("a lock that another took over ends the work, and stays the other's", async () => {
  const file = join(folder, "a");
  const work = withLock(file, { signal: never }, async (signal, lock) => {
    await otherHolder(file, "by force");
    expect(() => lock.requireHeld()).toThrow(LockLostError);
    await wait(60_000, undefined, { signal });
  });
  await expect(work).rejects.toThrow(/was removed while it was held, and another process took/);
  expect(Lock.tryTake(file)).toBeUndefined();
});

test("who lost a lock without noticing leaves the next holder's alone", () => {
  const file = join(folder, "a");
  const first = Lock.tryTake(file);
  rmSync(`${file}.lock`);
  const second = Lock.tryTake(file);
  first?.release();
  expect(existsSync(`${file}.lock`)).toBe(true);
  expect(Lock.tryTake(file)).toBeUndefined();
  second?.release();
  expect(readdirSync(folder)).toEqual([]);
});

// Such as the ESTALE of a network file system: here a folder that leads to itself.
test.skipIf(process.platform === "win32")(
  "a lock file that can't be looked at is lost, and the process goes on",
  async () => {
    const lock = Lock.tryTake(join(folder, "a"));
    rmSync(folder, { recursive: true });
    symlinkSync(folder, folder);
    await once(lock!.lost, "abort");
    expect(() => lock?.requireHeld()).toThrow(/ELOOP/);
    lock?.release();
  },
);

test("a folder that is removed in the middle of the work ends the work, not the process", async () => {
  const work = withLock(join(folder, "a"), { signal: never }, async (signal) => {
    rmSync(folder, { recursive: true });
    await wait(60_000, undefined, { signal });
  });
  await expect(work).rejects.toThrow(LockLostError);
  // Also where the work fails before anybody looked.
  mkdirSync(folder);
  const failed = withLock(join(folder, "a"), { signal: never }, async () => {
    rmSync(folder, { recursive: true });
    writeFileSync(join(folder, "result"), "");
  });
  await expect(failed).rejects.toThrow(LockLostError);
});

test.each([
  ["a folder that isn't there", () => join(folder, "none", "a"), /none.*ENOENT/],
  ["a file where a folder should be", () => join(folder, "file", "a"), /file\/a\.lock.*ENOTDIR/],
  [
    "a folder where the lock should be",
    () => join(folder, "taken"),
    /it is not a file\. Remove it/,
  ],
  ["another program's file", () => join(folder, "other"), /not a database.*remove it/],
])("%s is named, and nobody waits for it", async (_, path, message) => {
  writeFileSync(join(folder, "file"), "");
  mkdirSync(join(folder, "taken.lock"));
  writeFileSync(join(folder, "other.lock"), "x".repeat(2000));
  const onWait = () => expect.unreachable();
  const error = await withLock(path(), { signal: never, onWait }, async () => 1).catch((e) => e);
  expect(error).toBeInstanceOf(LockError);
  expect(error.message).toMatch(message);
});

test("a folder that can't be written is named, and not taken for another's lock", async () => {
  chmodSync(folder, 0o555);
  const script = `
    import { Lock } from "./src/files/lock.ts";
    if (process.getuid() === 0) process.setuid(65534);
    try { Lock.tryTake(args[0]); } catch (error) { process.stdout.write(error.message); }`;
  const { stdout } = await new ScriptProcess(script, [join(folder, "a")]).ended();
  expect(stdout).toMatch(/a\.lock can't be locked: EACCES: permission denied/);
});

test.skipIf(process.platform === "win32")(
  "whoever may write to a folder may take its locks",
  () => {
    chmodSync(folder, 0o770);
    const lock = Lock.tryTake(join(folder, "a"));
    expect(statSync(join(folder, "a.lock")).mode & 0o777).toBe(0o664);
    lock?.release();
  },
);
