import { readFile, readlink, rm, utimes, writeFile } from "node:fs/promises";

// A lock is a folder that its holder touches every few seconds. After a kill
// the next process would wait until it counts as stale. Beside it stands who
// holds it: if that process is gone from this machine, nobody need wait.

/** Notes this process as the holder of a file's lock. */
export async function nameHolder(file: string): Promise<void> {
  const name = await nameOf(process.pid);
  if (name !== undefined) await writeFile(holderOf(file), name);
}

export async function forgetHolder(file: string): Promise<void> {
  await rm(holderOf(file), { force: true });
}

/**
 * Makes a lock stale whose holder ran on this machine and is dead. If another
 * process takes the lock in that very moment, it notices and begins again.
 */
export async function freeIfHolderDied(file: string): Promise<void> {
  const holder = await readFile(holderOf(file), "utf8").catch(() => "");
  const [pid] = /^\d+/.exec(holder) ?? [];
  const here = await nameOf(process.pid);
  if (pid === undefined || here === undefined || placeOf(holder) !== placeOf(here)) return;
  if (holder === (await nameOf(Number(pid)))) return;
  // Gone or changed meanwhile: the next look tells.
  await rm(holderOf(file), { force: true });
  await utimes(`${file}.lock`, 0, 0).catch(() => {});
}

/**
 * A process's name that no other one ever has: its id and start time, the boot,
 * and the namespace that the id counts in. Undefined if it is not there, or
 * where /proc does not tell.
 */
async function nameOf(pid: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    // Field 22 of proc_pid_stat(5); the name, field 2, may hold spaces and ends at the last parenthesis.
    const startTime = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
    const boot = (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
    const namespace = await readlink("/proc/self/ns/pid");
    return `${pid} ${startTime} ${boot} ${namespace}`;
  } catch {
    return undefined;
  }
}

function placeOf(name: string): string {
  return name.split(" ").slice(2).join(" ");
}

function holderOf(file: string): string {
  return `${file}.holder`;
}
