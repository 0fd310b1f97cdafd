import { InputError, listed } from "../errors.ts";
import type { JobFolder } from "./job-folder.ts";
import type { PlanOptions } from "./plan.ts";
import type { PreviewFile } from "./preview-files.ts";

/** A picture that is asked for. */
export interface Target {
  /** null where a LoRA's pictures are asked for and the trainer's own are not there. */
  readonly preview: PreviewFile | null;
  readonly step: number;
  /** Of the sample in its section, from 0. */
  readonly index: number;
  readonly set: PreviewFile["set"];
}

/**
 * What is asked for of a job's pictures.
 *
 * @throws InputError for a step or a sample that it does not have
 */
export function targetsFor(job: JobFolder, { steps, samples }: PlanOptions): Target[] {
  const all = targetsOf(job);
  requireThere(
    "step",
    steps,
    all.map(({ step }) => step),
  );
  requireThere(
    "sample",
    samples,
    all.map(({ index }) => index),
  );
  return all.filter(
    ({ step, index }) => (steps?.includes(step) ?? true) && (samples?.includes(index) ?? true),
  );
}

function targetsOf({ previews, only, loras, config }: JobFolder): Target[] {
  const all = previews.map((preview) => {
    const { step, index, set } = preview;
    return { preview, step, index, set };
  });
  if (only === null) return all;
  if ("preview" in only) {
    const one = all.filter(({ preview }) => preview.file === only.preview);
    if (one.length > 0) return one;
    throw new InputError(
      `${only.preview} does not have the name of a preview: time__step_sample.jpg, as the trainer names them.`,
    );
  }
  const step = loras.find(({ file }) => file === only.lora)?.step ?? null;
  if (step === null) {
    throw new InputError(
      `${only.lora} does not say in its header at which step it was saved: name a LoRA as the trainer saved it.`,
    );
  }
  const ofStep = all.filter((target) => target.step === step);
  if (ofStep.length > 0) return ofStep;
  const prompts = config.sample.items.filter(({ prompt }) => prompt !== null);
  return prompts.map((_, index) => ({ preview: null, step, index, set: "sample" as const }));
}

function requireThere(
  what: string,
  asked: readonly number[] | undefined,
  there: readonly number[],
): void {
  const missing = asked?.filter((one) => !there.includes(one)) ?? [];
  if (missing.length === 0) return;
  const known = [...new Set(there)].toSorted((a, b) => a - b).map(String);
  throw new InputError(
    `${what} ${missing.join(", ")}: the job has no previews of it. There are ${listed(known)}.`,
  );
}
