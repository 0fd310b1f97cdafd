import { join } from "node:path";
import { CanceledError } from "../errors.ts";
import { makeFolders } from "../files/make-folders.ts";
import { notWritable } from "../files/whole.ts";
import { version } from "../version.ts";
import type { Report, ReportSample } from "../wire/report.ts";
import type { Decision } from "./decide.ts";
import { decide } from "./decide.ts";
import type { Explained } from "./explain-job.ts";
import { explainJob, nothingToExplain } from "./explain-job.ts";
import type { Inputs } from "./inputs.ts";
import { hashText, openInputs } from "./inputs.ts";
import type { Notebook } from "./notebook.ts";
import { openNotebook } from "./notebook.ts";
import type { Plan, PlannedSample } from "./plan.ts";
import { readPreview } from "./preview-files.ts";
import type { Renderer } from "./renderer.ts";
import { summarise, writeReport } from "./report.ts";
import type { Outcome } from "./sample-report.ts";
import { reportSample, verdictOf } from "./sample-report.ts";
import { searchEnd } from "./search-time.ts";
import type { Studio } from "./studio.ts";
import { openStudio } from "./studio.ts";

export interface RetakeOptions {
  readonly renderer: Renderer;
  /** Where the report comes to lie; made if it is not there. An earlier report of the job is gone on with. */
  readonly folder: string;
  readonly signal?: AbortSignal;
  /** After so many seconds no further picture is begun; the report says how many are missing. */
  readonly limitSeconds?: number;
  readonly onProgress?: (progress: RetakeProgress) => void;
  /** Told of each picture that is finished, those of an earlier run too. */
  readonly onSample?: (sample: ReportSample) => Promise<void> | void;
  /** What the report says of an error's message; all of it, if left out. */
  readonly says?: (message: string) => string;
}

export interface RetakeProgress {
  /** `deciding`: a picture is drawn in several ways, to see in which the trainer drew it. */
  readonly phase: "deciding" | "drawing" | "explaining";
  /** Pictures of the job that are finished, of how many. */
  readonly done: number;
  readonly total: number;
  /** Of the picture that is being drawn; 0 of 0 before its first. */
  readonly step: number;
  readonly steps: number;
}

/**
 * Takes a job's previews again: draws each, compares it, looks for what explains those that differ, and
 * writes the report. What fails for one picture is said with it and stops no other.
 *
 * @throws InputError if the weights or the report's folder can't be used
 * @throws CanceledError after the signal, when the report of what is done was written
 */
export async function retakeJob(plan: Plan, options: RetakeOptions): Promise<Report> {
  const { renderer, folder, signal, limitSeconds, onProgress, onSample, says } = options;
  const startedAt = performance.now();
  const limit = (limitSeconds ?? Number.POSITIVE_INFINITY) * 1000;
  const drawable = plan.samples.some(({ request }) => request !== null);
  const inputs = openInputs(
    drawable ? await renderer.fingerprint(plan.model.id, null) : null,
    signal,
  );
  await makeFolders(join(folder, "pictures")).catch((error: unknown) => {
    throw notWritable(folder, error);
  });
  await using notebook = await openNotebook(folder);
  const outcomes = new Map<PlannedSample, Outcome>();
  let phase: RetakeProgress["phase"] = "drawing";
  const tell = (step: number, steps: number) =>
    onProgress?.({ phase, done: outcomes.size, total: plan.samples.length, step, steps });
  const onStep = ({ step, total }: { readonly step: number; readonly total: number }) =>
    tell(step, total);
  const studio = openStudio({ renderer, inputs, notebook, folder, signal, onStep, says });

  const finish = async (sample: PlannedSample, outcome: Outcome) => {
    outcomes.set(sample, outcome);
    await onSample?.(reportSample(sample, outcome, plan.model.guess));
    tell(0, 0);
  };
  let explained = nothingToExplain;
  try {
    for (const sample of plan.samples) {
      if (sample.request === null) await finish(sample, notDrawn(sample));
    }
    const decisions = new Map<string, Decision>();
    for (const sample of inOrder(plan.samples)) {
      const share = someDiffer(outcomes) ? 1 - explainingShare : 1;
      if (performance.now() - startedAt > limit * share) break;
      const { candidates, decidedWith } = sample;
      if (candidates.length > 1 && !decisions.has(decidedWith)) {
        phase = "deciding";
        const alike = plan.samples.filter(
          (other) => other.decidedWith === decidedWith && other.candidates.length > 1,
        );
        decisions.set(decidedWith, await decided(alike, studio, inputs, notebook));
        phase = "drawing";
      }
      const decision = candidates.length > 1 ? decisions.get(decidedWith)! : null;
      const reading = candidates[decision?.chosen ?? 0]!;
      const taken = await studio.take(sample, reading);
      await finish(sample, { ...taken, reading, decided: decision?.reason ?? null });
    }
    phase = "explaining";
    const deadline = searchEnd(startedAt, performance.now(), limitSeconds);
    const means = { renderer, inputs, notebook, signal, deadline, onStep };
    explained = await explainJob(plan, outcomes, means);
  } catch (error) {
    if (!(error instanceof CanceledError)) throw error;
    await write(plan, outcomes, explained, folder);
    throw error;
  }
  return write(plan, outcomes, explained, folder);
}

/** Of the time limit, kept for finding causes where there is something to explain. */
const explainingShare = 1 / 3;

function someDiffer(outcomes: ReadonlyMap<PlannedSample, Outcome>): boolean {
  return outcomes.entries().some(([sample, one]) => verdictOf(sample, one) === "different");
}

function notDrawn({ reason }: PlannedSample): Outcome {
  return { reading: null, picture: null, settings: {}, judgement: null, reason, decided: null };
}

/** The last step first, as that is the LoRA that is used; of each step one sample after the other. */
function inOrder(samples: readonly PlannedSample[]): PlannedSample[] {
  return samples
    .filter(({ request }) => request !== null)
    .toSorted((a, b) => b.step - a.step || a.index - b.index);
}

async function decided(
  alike: readonly PlannedSample[],
  studio: Studio,
  inputs: Inputs,
  notebook: Notebook,
): Promise<Decision> {
  const madeFrom = await Promise.all(alike.map((one) => inputs.of(one, one.candidates)));
  const key = `decision: ${alike[0]!.decidedWith}`;
  const hash = hashText(madeFrom.join());
  const found = notebook.find(key, hash) as Decision | undefined; // this version's own
  if (found !== undefined) return found;
  const decision = await decide(alike, (sample, reading) => studio.attempt(sample, reading));
  await notebook.note(key, hash, decision);
  return decision;
}

/** The report with the pictures that are done. @param common what explains several of them */
export function reportOf(
  { job, samples }: Plan,
  done: readonly ReportSample[],
  common: Explained["common"] = null,
): Report {
  const versions = job.loras.flatMap(({ trainerVersion }) => trainerVersion ?? []);
  return {
    job: job.name,
    retake: version,
    trainer_versions: [...new Set(versions)],
    finished: done.length === samples.length,
    notes: job.notes,
    samples: done,
    summary: { ...summarise(done, samples.length), cause: common },
  };
}

async function write(
  plan: Plan,
  outcomes: ReadonlyMap<PlannedSample, Outcome>,
  { pictures, common }: Explained,
  folder: string,
): Promise<Report> {
  const { job, model, samples } = plan;
  const done = samples.flatMap((sample) => {
    const outcome = outcomes.get(sample);
    if (outcome === undefined) return [];
    const found = sample.preview === null ? undefined : pictures[sample.preview.file];
    return [reportSample(sample, outcome, model.guess, found)];
  });
  const report = reportOf(plan, done, common);
  const previews = new Map(job.previews.map((preview) => [preview.file, preview]));
  await writeReport(folder, report, (file) => readPreview(previews.get(file)!));
  return report;
}
