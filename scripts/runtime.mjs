// Plain JavaScript for any Node from 20 on: it brings what the TypeScript needs.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("..", import.meta.url));

/** Type stripping is stable from 24.12 on. */
const oldestNode = [24, 12];

/** Installs the locked dependencies unless they are there already. */
export function installDependencies() {
  const lockFile = join(root, "package-lock.json");
  const stamp = join(root, "node_modules", ".retake-lock");
  const hash = createHash("sha256").update(readFileSync(lockFile)).digest("hex");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === hash) return;
  process.stderr.write("Installing dependencies (once)...\n");
  const npm = process.platform === "win32" ? "npm.cmd" : "npm";
  // Not `npm ci`: it refuses a lock file written where the packages of other platforms can't be had.
  const install = spawnSync(
    npm,
    ["install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"],
    {
      cwd: root,
      // What the program prints on stdout is its result: npm talks on stderr.
      stdio: ["ignore", 2, 2],
      shell: process.platform === "win32",
    },
  );
  if (install.status !== 0) {
    process.stderr.write("npm install failed: Retake can't run without its dependencies.\n");
    process.exit(1);
  }
  writeFileSync(stamp, hash);
}

/** A Node that runs TypeScript: this one, or the one that npm installed. */
export function findNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > oldestNode[0] || (major === oldestNode[0] && minor >= oldestNode[1])) {
    return process.execPath;
  }
  const name = `node-${process.platform}-${process.arch}`;
  try {
    const manifest = createRequire(import.meta.url).resolve(`${name}/package.json`);
    return join(manifest, "..", "bin", "node");
  } catch {
    process.stderr.write(
      `Retake needs Node ${oldestNode.join(".")} or newer; this is ${process.versions.node}, and there ` +
        `is no packaged Node for ${process.platform} on ${process.arch}. Install Node 24.\n`,
    );
    process.exit(1);
  }
}

/** Runs a program with this terminal and answers with its exit code. Signals reach it too. */
export function run(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: process.cwd(), stdio: "inherit" });
    const forward = (signal) => child.kill(signal);
    process.on("SIGINT", forward).on("SIGTERM", forward);
    child.on("error", reject);
    child.on("exit", (code, signal) => {
      process.off("SIGINT", forward).off("SIGTERM", forward);
      resolve(code ?? (signal === "SIGINT" ? 130 : 1));
    });
  });
}
