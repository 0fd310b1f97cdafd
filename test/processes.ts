import { type ChildProcessByStdio, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";

const root = fileURLToPath(new URL("../", import.meta.url));
const isRoot = process.getuid?.() === 0;
const apart = ["unshare", ...(isRoot ? [] : ["--map-root-user"]), "--net", "--"];

/** Whether processes may be started that share the files of this machine and not its network, as containers do. */
export const hasNamespaces: boolean = (() => {
  try {
    execFileSync(apart[0]!, [...apart.slice(1), "true"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();

/** A process that runs a script with `args` and the sources at hand, such as "./src/errors.ts". */
export class ScriptProcess {
  readonly #child: ChildProcessByStdio<null, Readable, Readable>;
  readonly #stdout: Promise<string>;
  readonly #stderr: Promise<string>;

  /** @param network "own": it reaches nothing of this machine's network */
  constructor(script: string, args: readonly string[], network: "shared" | "own" = "shared") {
    const node = [
      process.execPath,
      ...["--input-type=module", "--eval", `const args = process.argv.slice(1);${script}`, "--"],
    ];
    const [program, ...rest] = [...(network === "own" ? apart : []), ...node, ...args];
    this.#child = spawn(program!, rest, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    this.#stdout = text(this.#child.stdout);
    this.#stderr = text(this.#child.stderr);
    onTestFinished(() => void this.#child.kill("SIGKILL"));
  }

  /** What it printed until its end. */
  async ended(): Promise<{ code: number | null; stdout: string; stderr: string }> {
    const [stdout, stderr] = await Promise.all([this.#stdout, this.#stderr]);
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      await once(this.#child, "exit");
    }
    return { code: this.#child.exitCode, stdout, stderr };
  }

  /** When it prints for the first time. @throws if it ends before */
  async printed(): Promise<void> {
    const ended = this.ended().then(({ stderr }) => {
      throw new Error(`ended without a word: ${stderr}`);
    });
    await Promise.race([once(this.#child.stdout, "data"), ended]);
    ended.catch(() => {});
  }

  /** As the system does when memory runs out: it has no say in it. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.ended();
  }
}
