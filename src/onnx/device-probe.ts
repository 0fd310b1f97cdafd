import { readFileSync } from "node:fs";
import { env } from "onnxruntime-node";
import { type Device, devices } from "../config/model-options.ts";
import { messageOf } from "../errors.ts";
import { missingCudaLibraries } from "./cuda-libraries.ts";
import { type Adapter, adapterIn, memoryOf, nvidiaCard, softwareProblem } from "./device-facts.ts";
import { adds, largestBuffer } from "./largest-buffer.ts";
import type { DeviceFacts, ProbeAnswer } from "./probe-answer.ts";
import { alive, hardware } from "./probe-answer.ts";
import { selfTest } from "./self-test.ts";
import { untestedTarget } from "./target.ts";

// A process of its own for each device: a driver may end its process or never answer, and writes
// what it likes. Answers the process that started it. usage: device-probe.ts DEVICE FILE-OF-STDERR [hardware]

const [name, logFile = "", kind] = process.argv.slice(2);
const device = devices.find((known) => known === name);
if (device === undefined) throw new Error(`no device ${name}`);
// The runtime then writes which GPUs it found.
env.logLevel = "info";
const answer = await probe(device).catch(async (error: unknown): Promise<ProbeAnswer> => {
  const missing = device === "cuda" ? await missingCudaLibraries() : [];
  const also = missing.length === 0 ? "" : ` Missing here: ${missing.join(", ")}.`;
  return { problem: withoutNoise(messageOf(error), device) + also, facts: null };
});
process.send?.(answer, () => process.exit(0));

async function probe(own: Device): Promise<ProbeAnswer> {
  const target = untestedTarget(own);
  if (!(await adds(1024, target)))
    return { problem: "it says that 1 + 1 is something else than 2", facts: null };
  const log = readFileSync(logFile, "utf8");
  const card = own === "cuda" ? await nvidiaCard(null) : null;
  const adapter: Adapter =
    own === "cuda"
      ? { name: card?.name ?? null, driver: card?.driver ?? null, isSoftware: false }
      : adapterIn(log, own);
  const unfit = kind === hardware ? softwareProblem(adapter) : null;
  if (unfit !== null) return { problem: unfit, facts: null };
  const memory =
    own === "cuda"
      ? { memoryBytes: card?.memoryBytes ?? null, isShared: false }
      : await memoryOf(adapter, own, log);
  const { wrong, fusedAttention, f16 } = await selfTest(target, () => process.send?.(alive));
  const maxBufferBytes = await largestBuffer(target, adapter.isSoftware);
  const facts: DeviceFacts = { ...adapter, ...memory, f16, fusedAttention, maxBufferBytes };
  const problem =
    wrong.length === 0 ? null : `it computes wrong numbers: ${wrong.slice(0, 3).join("; ")}`;
  return { problem, facts };
}

/** The reason alone: no option, which nobody gave, and no place in the runtime's source. */
function withoutNoise(message: string, own: Device): string {
  return message
    .replaceAll(/\s+/g, " ")
    .replace(new RegExp(`^--device ${own}:? `), "")
    .replace(/\/\S+\.cc:\d+ .* was false\. /, "")
    .replace(/ Or use --device cpu\.$/, "")
    .trim();
}
