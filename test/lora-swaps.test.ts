import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { testRuns } from "./devices.ts";
import type { TestRun } from "./held.ts";

interface Swapped {
  readonly megabytes: readonly number[];
  readonly latents: readonly number[];
}

const script = fileURLToPath(new URL("swap-loras.ts", import.meta.url));

function run(swaps: number, last: string, { device, storage }: TestRun): Swapped {
  const args = ["--expose-gc", script, String(swaps), last, device, storage];
  return JSON.parse(execFileSync(process.execPath, args, { encoding: "utf8" }));
}

const title = "swaps between LoRAs of every format leak nothing and leave no trace";
test.each(testRuns)(`${title} on $device, $storage weights`, (kind) => {
  const last = "ai-toolkit.safetensors";
  // What a software device holds is memory of the process.
  const { megabytes, latents } = run(kind.device === "cpu" ? 500 : 100, last, kind);
  expect(latents.length).toBeGreaterThan(100);
  // Bit for bit what a process gives that has seen no other LoRA.
  expect(latents).toEqual(run(0, last, kind).latents);
  const [atFirst, ...later] = megabytes;
  expect(Math.max(...later) - atFirst!).toBeLessThan(64);
});
