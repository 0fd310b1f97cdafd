import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** What the tests' databases, downloads and results take at most, with room to spare. */
const neededBytes = 4 * 2 ** 30;
const inMemory = "/dev/shm";
const prefix = "retake-tests-";

/**
 * A folder for everything that the tests of a run make: in memory where there is room. Databases
 * have thousands of small files, and a disk takes longer to make and remove them than the tests
 * take to run.
 */
function makeFolder(): string {
  const parent = existsSync(inMemory) && freeBytes(inMemory) > neededBytes ? inMemory : tmpdir();
  removeLeft(parent);
  const folder = mkdtempSync(join(parent, `${prefix}${process.pid}-`));
  // Postgres runs as another user where the tests run as root.
  chmodSync(folder, 0o711);
  return folder;
}

/** A run that was killed leaves its folder, and with it memory. */
function removeLeft(parent: string): void {
  for (const name of readdirSync(parent)) {
    const pid = Number(new RegExp(`^${prefix}(\\d+)-`).exec(name)?.[1] ?? process.pid);
    if (!isRunning(pid)) rmSync(join(parent, name), { recursive: true, force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    // Another user's process can't be signalled, and runs.
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

function freeBytes(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}

/** Makes the run's folder for temporary files and removes it in the end. */
export default function setup(): () => void {
  const folder = makeFolder();
  process.env.TMPDIR = folder;
  return () => rmSync(folder, { recursive: true, force: true });
}
