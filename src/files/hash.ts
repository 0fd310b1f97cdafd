import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { CanceledError } from "../errors.ts";

/** How the hub names content: large files by SHA-256, small ones as Git does. */
export type HashKind = "sha256" | "git-sha1";

const chunkBytes = 4 * 1024 * 1024;

/** A file's hash, in hexadecimal. @throws CanceledError at the signal */
export async function hashFile(
  path: string,
  kind: HashKind,
  signal?: AbortSignal,
): Promise<string> {
  const handle = await open(path, "r");
  try {
    const hash = createHash(kind === "sha256" ? "sha256" : "sha1");
    // https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
    if (kind === "git-sha1") hash.update(`blob ${(await handle.stat()).size}\0`);
    const chunk = Buffer.allocUnsafe(chunkBytes);
    for (;;) {
      if (signal?.aborted === true) throw new CanceledError();
      const { bytesRead } = await handle.read(chunk, 0, chunkBytes);
      if (bytesRead === 0) return hash.digest("hex");
      hash.update(chunk.subarray(0, bytesRead));
    }
  } finally {
    await handle.close();
  }
}
