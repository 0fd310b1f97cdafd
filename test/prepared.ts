import { createHash } from "node:crypto";
import {
  chownSync,
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openEmbedded } from "../src/queue/database.ts";
import { Queue } from "../src/queue/queue.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const cache = join(root, "node_modules", ".cache", "retake-tests");

/** Changes with whatever a prepared database is made of: its programs and the queue's tables. */
function keyOf(): string {
  const hash = createHash("sha256").update(readFileSync(join(root, "package-lock.json")));
  const queue = join(root, "src", "queue");
  for (const name of readdirSync(queue).toSorted()) {
    if (!name.endsWith(".test.ts")) hash.update(readFileSync(join(queue, name)));
  }
  return hash.digest("hex").slice(0, 16);
}

/**
 * A folder that takes seconds to make and is the same each time: made once, then kept beside the
 * dependencies until what it is made of changes.
 *
 * @returns where it lies; tests copy it and never write to it
 */
export async function prepared(
  name: string,
  make: (folder: string) => Promise<void>,
): Promise<string> {
  const wanted = join(cache, `${name}-${keyOf()}`);
  if (existsSync(wanted)) return wanted;
  mkdirSync(cache, { recursive: true });
  for (const old of readdirSync(cache)) {
    if (old.startsWith(`${name}-`)) rmSync(join(cache, old), { recursive: true, force: true });
  }
  const unfinished = mkdtempSync(join(cache, "unfinished-"));
  try {
    await make(unfinished);
    renameSync(unfinished, wanted);
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true });
    // Another test file made it meanwhile.
    if (!existsSync(wanted)) throw error;
  }
  return wanted;
}

/** Copies a folder ten times faster than `cpSync`: a database has a thousand small files. */
export function copyFolder(from: string, to: string, owner?: number): void {
  mkdirSync(to, { recursive: true, mode: statSync(from).mode });
  if (owner !== undefined) chownSync(to, owner, owner);
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) copyFolder(source, target, owner);
    else {
      copyFileSync(source, target, constants.COPYFILE_FICLONE);
      if (owner !== undefined) chownSync(target, owner, owner);
    }
  }
}

/** Puts a queue with all of its tables where `openEmbedded` and RETAKE_DATA look for one. */
export async function prepareQueue(dataFolder: string): Promise<void> {
  if (existsSync(join(dataFolder, "queue"))) return;
  const made = await prepared("queue", async (folder) => {
    const database = await openEmbedded(folder);
    const onError = (error: Error) => {
      throw error;
    };
    const queue = await Queue.open(database, { maxQueued: 1, onError });
    await queue.close();
    await database.close();
  });
  copyFolder(join(made, "queue"), join(dataFolder, "queue"));
}
