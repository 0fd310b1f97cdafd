import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));
const pages = [
  "README.md",
  ...readdirSync(join(root, "docs"))
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name}`),
];

/** Commands that a reader can run on a fresh clone; what needs real weights names `--weights weights`. */
const commands = pages.flatMap((page) => {
  const blocks = readFileSync(join(root, page), "utf8").matchAll(/```sh\n(.*?)```/gs);
  return [...blocks]
    .flatMap(([, block]) => block!.split("\n"))
    .filter((line) => line.startsWith("bin/retake") && !line.includes("--weights weights"))
    .map((line) => [page, line] as const);
});

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-docs-"));
  symlinkSync(join(root, "bin"), join(folder, "bin"));
  symlinkSync(join(root, "demo"), join(folder, "demo"));
  // The first run after `npm install` says that it installs: what it checks once isn't a page's fault.
  spawnSync(join(root, "bin", "retake"), ["--version"]);
});
afterAll(() => rmSync(folder, { recursive: true }));

test("the pages hold commands", () => expect(commands.length).toBeGreaterThan(5));

test.each(commands)("%s: %s", (_, command) => {
  const { status, stderr } = spawnSync("sh", ["-c", command], {
    cwd: folder,
    encoding: "utf8",
    env: { ...process.env, RETAKE_CACHE: join(folder, "cache") },
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
});
