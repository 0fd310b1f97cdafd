import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** Files that the reference wrote; `manifest.json` says with which versions and tolerances. */
export const goldenFolder: string = fileURLToPath(new URL("golden", import.meta.url));

export function readGolden<T>(name: string): T {
  return JSON.parse(readFileSync(join(goldenFolder, name), "utf8"));
}
