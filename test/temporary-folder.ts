import { chmodSync, existsSync, mkdtempSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** What the tests' databases, downloads and results take at most, with room to spare. */
const neededBytes = 4 * 2 ** 30;
const inMemory = "/dev/shm";

/**
 * A folder for everything that the tests of a run make: in memory where there is room. Databases
 * have thousands of small files, and a disk takes longer to make and remove them than the tests
 * take to run.
 */
function makeFolder(): string {
  const parent = existsSync(inMemory) && freeBytes(inMemory) > neededBytes ? inMemory : tmpdir();
  const folder = mkdtempSync(join(parent, "retake-tests-"));
  // Postgres runs as another user where the tests run as root.
  chmodSync(folder, 0o711);
  return folder;
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
