import { realpath, stat } from "node:fs/promises";

/** Names the content that a path has now: a file that is written again is another one. */
export async function identityOf(path: string): Promise<string> {
  const file = await realpath(path);
  const { dev, ino, size, mtimeNs } = await stat(file, { bigint: true });
  return [file, dev, ino, size, mtimeNs].join(":");
}
