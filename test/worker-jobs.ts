import { randomUUID } from "node:crypto";
import type { PictureJob } from "../src/job/job.ts";
import type { WorkerOptions } from "../src/worker/messages.ts";
import type { WorkerLimits } from "../src/worker/process.ts";
import { WorkerSlot } from "../src/worker/slot.ts";

type JobPrompt = PictureJob["prompts"][number];

/** A small picture. */
export function prompt(fields: Partial<JobPrompt> = {}): JobPrompt {
  const open = { triggerWord: null, guidanceScale: 1, negativePrompt: "" };
  return {
    prompt: "a red circle",
    ...open,
    width: 64,
    height: 64,
    steps: 3,
    seed: "42",
    ...fields,
  };
}

export function jobOf(
  prompts: PictureJob["prompts"],
  fields: Partial<PictureJob> = {},
): PictureJob {
  return {
    kind: "pictures",
    id: randomUUID(),
    model: "zimage_turbo",
    loras: [],
    prompts,
    asTrained: false,
    profile: "reference",
    format: "jpeg",
    previewEvery: null,
    ...fields,
  };
}

/** @param lines gets what it warns of */
export function workerIn(
  outputFolder: string,
  own: Partial<WorkerOptions> = {},
  limits: Partial<WorkerLimits> = {},
  lines: string[] = [],
): WorkerSlot {
  const options: WorkerOptions = {
    device: "cpu",
    deviceReason: null,
    weights: "demo",
    transformers: {},
    storage: "auto",
    cacheFolder: "/nowhere",
    keepOpen: true,
    memoryBudget: 2 ** 30,
    pixelSteps: 4096 * 4096 * 150,
    outputFolder,
    ...own,
  };
  const add = (_: object, line: string) => void lines.push(line);
  return new WorkerSlot(options, { info: () => {}, warn: add }, limits);
}
