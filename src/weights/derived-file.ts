import { createHash, randomUUID } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { readdir, rm, statfs, utimes } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { CanceledError, InputError, messageOf } from "../errors.ts";
import { LockLostError, withLock } from "../files/lock.ts";
import { makeFolders } from "../files/make-folders.ts";
import { identityOf } from "../files/read.ts";
import { makeWhole, writeAt, writeNew } from "../files/whole.ts";
import type { SafetensorsFile } from "./safetensors.ts";
import { readSafetensors } from "./safetensors.ts";
import type { TensorLayout } from "./write-safetensors.ts";
import { byteLengthOf, encodeHeader } from "./write-safetensors.ts";

/** Counted up when what is written changes: older files are then not used any more. */
const formatVersion = 1;
/** A disk is not filled to its last byte. */
const spareBytes = 256 * 2 ** 20;

/** Writes bytes into a tensor, from one of its bytes on. */
export type WriteInto = (tensor: string, at: number, bytes: Uint8Array) => Promise<void>;

/** A file that is made out of others once and kept. */
export interface Derivation {
  readonly cacheFolder: string;
  /** What is made: with the sources' identities it names the file. */
  readonly kind: string;
  /** What else the content depends on; part of the name as well. */
  readonly detail?: string;
  readonly sources: readonly string[];
  /** What the file holds, in order. */
  readonly tensors: ReadonlyMap<string, TensorLayout>;
  /** Writes every byte of every tensor; looks at the signal between pieces. */
  readonly fill: (write: WriteInto, signal: AbortSignal) => Promise<void>;
}

/** Follows a file while it is made. */
interface DeriveProgress {
  /** @param written bytes of the file so far */
  update(written: number): void;
  /** Called once, whether the file was made or not. */
  stop(): void;
}

/** What a caller may want to know and to stop. */
export interface DeriveOptions {
  readonly signal?: AbortSignal;
  /** Called before the work begins, if there is any; what it returns is told how far it is. */
  readonly onStart?: (what: {
    readonly sources: readonly string[];
    readonly bytes: number;
  }) => DeriveProgress | undefined;
}

/**
 * The derived file: the one of an earlier time, or a new one. Whichever process comes first
 * makes it; others wait. It gets its name when it is whole.
 *
 * @throws InputError if the cache folder can't be written or the disk has not enough room
 * @throws CanceledError at the signal; nothing is left then
 */
export async function openDerived(
  derivation: Derivation,
  options: DeriveOptions,
): Promise<SafetensorsFile> {
  const { cacheFolder } = derivation;
  const path = join(cacheFolder, `${await keyOf(derivation)}.safetensors`);
  for (;;) {
    const known = await reuse(path);
    if (known !== undefined) return known;
    try {
      await makeFolders(cacheFolder);
      return await makeOnce(path, derivation, options);
    } catch (error) {
      // Somebody cleared the cache: it is made again.
      if (error instanceof LockLostError) continue;
      if (error instanceof InputError || error instanceof CanceledError) throw error;
      throw notWritable(path, error);
    }
  }
}

async function makeOnce(
  path: string,
  derivation: Derivation,
  { signal = new AbortController().signal, onStart }: DeriveOptions,
): Promise<SafetensorsFile> {
  return withLock(path, { signal }, async (lockedSignal, lock) => {
    const made = await reuse(path);
    if (made !== undefined) return made;
    await removeParts(path);
    const bytes = await requireRoom(derivation);
    const progress = onStart?.({ sources: derivation.sources, bytes });
    const part = `${path}.${randomUUID()}.part`;
    const write = async () => {
      await writeNew(part, (handle) => fillFile(handle, derivation, lockedSignal, progress));
      lock.requireHeld();
    };
    try {
      await makeWhole(path, write, part);
    } finally {
      progress?.stop();
    }
    return await readSafetensors(path);
  });
}

async function keyOf({ kind, detail, sources }: Derivation): Promise<string> {
  const identities = await Promise.all(sources.map(identityOf));
  const text = [formatVersion, kind, ...(detail === undefined ? [] : [detail]), ...identities].join(
    "\n",
  );
  return `${kind}-${createHash("sha256").update(text).digest("hex").slice(0, 32)}`;
}

/** A whole file, marked as used now; undefined if there is none. */
async function reuse(path: string): Promise<SafetensorsFile | undefined> {
  const now = new Date();
  try {
    await utimes(path, now, now);
    return await readSafetensors(path);
  } catch {
    // Missing, or damaged by something else: it is made again.
    return undefined;
  }
}

/** What killed processes left. Whoever lost the lock and writes still will find its part gone. */
async function removeParts(path: string): Promise<void> {
  const folder = dirname(path);
  for (const name of await readdir(folder)) {
    if (derivedOf(name) === basename(path) && name.endsWith(".part")) await rm(join(folder, name));
  }
}

/** The derived file that a file of the cache folder belongs to: itself, its parts, its lock. Undefined for others'. */
export function derivedOf(name: string): string | undefined {
  return /^([a-z0-9]+-[0-9a-f]{32}\.safetensors)(?:\.lock|\.[0-9a-f-]{36}\.part)?$/.exec(name)?.[1];
}

async function requireRoom({ cacheFolder, tensors, sources }: Derivation): Promise<number> {
  const bytes = [...tensors.values()].reduce((sum, layout) => sum + byteLengthOf(layout), 0);
  const { bavail, bsize } = await statfs(cacheFolder);
  if (bavail * bsize >= bytes + spareBytes) return bytes;
  const mebibytes = (count: number) => `${Math.ceil(count / 2 ** 20)} MiB`;
  throw new InputError(
    `${sources.map((file) => basename(file)).join(", ")} needs ${mebibytes(bytes + spareBytes)} in ` +
      `${cacheFolder}, and there are ${mebibytes(bavail * bsize)}. Free some (retake cache clear), or ` +
      "set RETAKE_CACHE to a folder on another disk.",
  );
}

async function fillFile(
  handle: FileHandle,
  { kind, sources, tensors, fill }: Derivation,
  signal: AbortSignal,
  progress: DeriveProgress | undefined,
): Promise<void> {
  const names = sources.map((file) => basename(file)).join(", ");
  const header = encodeHeader(tensors, { kind, sources: names });
  await writeAt(handle, header, 0);
  const starts = new Map<string, number>();
  let end = header.length;
  for (const [name, layout] of tensors) {
    starts.set(name, end);
    end += byteLengthOf(layout);
  }
  let written = 0;
  const write: WriteInto = async (name, at, bytes) => {
    await writeAt(handle, bytes, starts.get(name)! + at);
    written += bytes.length;
    progress?.update(written);
  };
  await fill(write, signal);
}

function notWritable(path: string, error: unknown): InputError {
  return new InputError(
    `${path} can't be written: ${messageOf(error)}. Set RETAKE_CACHE to a folder that you may write to.`,
    { cause: error },
  );
}
