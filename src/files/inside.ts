import { realpath } from "node:fs/promises";
import { sep } from "node:path";

/**
 * Where a path leads, if that is inside of a folder: a link may lead anywhere.
 *
 * @param folder real, absolute path
 * @returns the real path; undefined if it leads out or nowhere
 */
export async function realInside(folder: string, path: string): Promise<string | undefined> {
  const real = await realpath(path).catch(() => undefined);
  return real?.startsWith(folder + sep) === true ? real : undefined;
}
