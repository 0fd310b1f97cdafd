import { readFile, stat } from "node:fs/promises";
import { hashFile } from "../files/hash.ts";

/** Larger files are read piece by piece, and once more for their hash. */
const largestHeld = 2 ** 30;

/** A file's bytes, if they are few enough to be held at once. */
export async function readHeld(file: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const { size } = await stat(file);
  if (size > largestHeld) return undefined;
  const { buffer, byteOffset, byteLength } = await readFile(file);
  // Not a Buffer: its slices share memory where those of every other array are copies.
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/**
 * A LoRA's SHA-256, in hexadecimal. Bytes that are held are hashed in a thread
 * of WebCrypto's, beside other work.
 */
export async function hashLora(
  file: string,
  held: Uint8Array<ArrayBuffer> | undefined,
  signal?: AbortSignal,
): Promise<string> {
  if (held === undefined) return hashFile(file, "sha256", signal);
  return Buffer.from(await crypto.subtle.digest("SHA-256", held)).toString("hex");
}
