// Plain JavaScript for any Node from 20 on: it brings what the TypeScript needs.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("..", import.meta.url));

/** Type stripping is stable from 24.12 on, SQLite comes without a warning from 24.15 on. */
const oldestNode = [24, 15];

/**
 * Installs the locked dependencies unless they are there already, whoever put them there.
 *
 * @param withDev what tests and checks need as well; the server and the command line run without
 */
export function installDependencies({ withDev = false } = {}) {
  const installed = installedPackages();
  if (isWhole(installed, withDev)) return;
  process.stderr.write("Installing dependencies (once)...\n");
  const npm = process.platform === "win32" ? "npm.cmd" : "npm";
  // What is there for tests stays. And not `npm ci`: it would take everything away from a server
  // that runs out of this folder.
  const keepsDev = withDev || Object.values(installed).some(({ dev }) => dev);
  const install = spawnSync(
    npm,
    [
      ...["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts"],
      ...(keepsDev ? [] : ["--omit=dev"]),
    ],
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
}

const packagesOf = (file) => JSON.parse(readFileSync(file, "utf8")).packages;

/** What npm has installed, by path, as it notes it itself. */
function installedPackages() {
  const file = join(root, "node_modules", ".package-lock.json");
  return existsSync(file) ? packagesOf(file) : {};
}

/** Whether all of the lock file is there in its version. */
function isWhole(installed, withDev) {
  return Object.entries(packagesOf(join(root, "package-lock.json"))).every(([path, entry]) => {
    const { version, optional, dev, devOptional, peer } = entry;
    // An optional package may be for another platform; one of the clone's own folders has no version.
    const isLeftOut = optional || ((dev || devOptional || peer) && !withDev);
    if (!path.startsWith("node_modules/") || entry.link || isLeftOut) return true;
    return installed[path]?.version === version;
  });
}

/** A Node that runs TypeScript: this one, or the one that npm installed. */
export function findNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > oldestNode[0] || (major === oldestNode[0] && minor >= oldestNode[1])) {
    return process.execPath;
  }
  const platform = process.platform === "win32" ? "win" : process.platform;
  const name = `node-${platform}-${process.arch}`;
  try {
    const manifest = createRequire(import.meta.url).resolve(`${name}/package.json`);
    const file = process.platform === "win32" ? "node.exe" : "node";
    return join(manifest, "..", "bin", file);
  } catch {
    process.stderr.write(
      `Retake needs Node ${oldestNode.join(".")} or newer; this is ${process.versions.node}, and there ` +
        `is no packaged Node for ${process.platform} on ${process.arch}. Install Node 24.15 or a later 24.\n`,
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
