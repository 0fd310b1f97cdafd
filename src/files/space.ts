import { stat, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { InputError } from "../errors.ts";

/** Bytes that this user may still write where a folder is or will be. */
export async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(await existingPart(folder));
  return bavail * bsize;
}

/** What is there of a path: itself, or the nearest folder above it. The root always is. */
export async function existingPart(path: string): Promise<string> {
  let place = path;
  while ((await stat(place).catch(() => undefined)) === undefined) place = dirname(place);
  return place;
}

/** @throws InputError with both numbers if `bytes` don't fit */
export async function requireSpace(folder: string, bytes: number): Promise<void> {
  const free = await freeBytes(folder);
  if (bytes <= free) return;
  throw new InputError(
    `${sizeText(bytes)} are still to be fetched, and ${folder} has ${sizeText(free)} free. Free ${sizeText(bytes - free)}, or give another folder with --weights or HF_HUB_CACHE.`,
  );
}

/** As disks are sold: powers of ten. */
export function sizeText(bytes: number): string {
  if (bytes < 1000) return `${bytes} bytes`;
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(1)} kB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}
