import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

const main = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));

/** All that a picture without a warning leaves on stderr: what was chosen, and why. */
export const profileLine =
  /^(device [^\n]+\n)?(storage [^\n]+\n)?profile preview-[\d.]+: [^\n]+\n$/;

interface Ended {
  /** Null for a process that a signal ended. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RetakeProcess {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** What it has said so far. */
  readonly output: { readonly stdout: string; readonly stderr: string };
}

/**
 * Starts the command line in a process of its own, as a person does, but on the CPU unless `env` has
 * another DEVICE: tests say the same on a machine with a GPU.
 *
 * @param cwd is its home too: nothing of this machine's settings reaches it
 * @param program the command line's file, if not the sources'
 */
export function startRetake(
  args: readonly string[],
  {
    cwd,
    env = {},
    program = main,
  }: { cwd: string; env?: Readonly<Record<string, string>>; program?: string },
): RetakeProcess {
  const child = spawn(process.execPath, [program, ...args], {
    cwd,
    env: { PATH: process.env.PATH, HOME: cwd, DEVICE: "cpu", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const output = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output.stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    output.stderr += text;
  });
  const ended = once(child, "close").then(([code]) => ({ code, ...output }));
  return { child, ended, output };
}
