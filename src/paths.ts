import { basename, dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";

// Where the package's own files lie. This file stands in src/ of a clone and, compiled, in dist/ of
// the package: both are next to what is named here.
const root = fileURLToPath(new URL("..", import.meta.url));

export const manifestFile: string = join(root, "package.json");

/** The model store and the LoRAs that come along. */
export const demoWeights: string = join(root, "demo", "weights");
export const demoLoras: string = join(root, "demo", "loras");

/** What report.html is made of, beside its pictures. */
export const reportStyles: readonly string[] = [
  "base.css",
  "overview.css",
  "cards.css",
  "pictures.css",
].map((name) => join(root, "report", name));
export const reportScript: string = join(root, "report", "page.js");

/** Folder for what Node has compiled: where a project's tools keep such things, or in the clone itself. */
export const compileCache: string =
  basename(dirname(root)) === "node_modules"
    ? join(dirname(root), ".cache", "retake")
    : join(root, "node_modules", ".cache", "compiled");

/**
 * A module that is started by its file, as a process or a thread: in TypeScript or compiled, as the
 * one that starts it.
 *
 * @param from `import.meta.url` of the module that starts it
 * @param name without its ending, beside it
 */
export function entryBeside(from: string, name: string): string {
  return fileURLToPath(new URL(`${name}${extname(new URL(from).pathname)}`, from));
}
