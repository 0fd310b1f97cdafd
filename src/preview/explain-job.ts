import { decodeImage } from "../image/decode-image.ts";
import type { ReportCause, ReportCommonCause } from "../wire/report.ts";
import { findCauses } from "./causes.ts";
import type { Findings } from "./findings.ts";
import type { Inputs } from "./inputs.ts";
import { hashText } from "./inputs.ts";
import { judge } from "./judge.ts";
import type { Notebook } from "./notebook.ts";
import type { Plan, PlannedSample } from "./plan.ts";
import { readPreview } from "./preview-files.ts";
import type { Renderer } from "./renderer.ts";
import type { Outcome } from "./sample-report.ts";
import { verdictOf } from "./sample-report.ts";
import type { Case } from "./trials-for.ts";

/** What explains one picture that differs from its retake. */
export interface PictureCauses {
  readonly causes: readonly ReportCause[];
  /** Where nothing does, how much was tried; null: something does. */
  readonly note: string | null;
}

/** What was found for a job. */
export interface Explained {
  /** By the preview's file. */
  readonly pictures: Readonly<Record<string, PictureCauses>>;
  /** What explains most of the pictures that differ; null: nothing does. */
  readonly common: ReportCommonCause | null;
}

export interface ExplainOptions {
  readonly renderer: Renderer;
  readonly inputs: Inputs;
  readonly notebook: Notebook;
  readonly signal: AbortSignal | undefined;
  /** Milliseconds of `performance.now()` after which no further picture is drawn. */
  readonly deadline: number;
  readonly onStep: (progress: { readonly step: number; readonly total: number }) => void;
}

export const nothingToExplain: Explained = { pictures: {}, common: null };

/** Looks for what explains a job's pictures that differ, or finds in the notebook what was found. */
export async function explainJob(
  plan: Plan,
  outcomes: ReadonlyMap<PlannedSample, Outcome>,
  { renderer, inputs, notebook, signal, deadline, onStep }: ExplainOptions,
): Promise<Explained> {
  const open = [...outcomes].some(([sample, outcome]) =>
    ["different", "close"].includes(verdictOf(sample, outcome)),
  );
  if (!open) return nothingToExplain;
  const cases = await casesOf(outcomes);
  const madeFrom = await Promise.all(
    cases.map(({ sample, shot }) =>
      inputs.of(sample, [{ ...shot, profile: sample.profile, says: "" }]),
    ),
  );
  const hash = hashText(madeFrom.join());
  const known = notebook.find("causes", hash) as Explained | undefined; // this version's own
  if (known !== undefined) return known;
  const findings = await findCauses(plan, cases, {
    deadline,
    draw: async ({ model, rounding, request, meaning }) => {
      const drawn = await renderer.render(model, rounding, request, {
        onStep,
        ...(meaning === undefined ? {} : { meaning }),
        ...(signal === undefined ? {} : { signal }),
      });
      return drawn.image;
    },
    judge: async ({ preview }, image, expected) =>
      judge({ file: preview.file, bytes: await readPreview(preview) }, image, expected),
  });
  const explained = explainedBy(findings);
  const isWhole = [...findings.found.values()].every(({ complete }) => complete);
  // What time ran out for is looked for again.
  if (isWhole) await notebook.note("causes", hash, explained);
  return explained;
}

/** Pictures that can be compared; the size is the file's. */
async function casesOf(outcomes: ReadonlyMap<PlannedSample, Outcome>): Promise<Case[]> {
  const cases: Case[] = [];
  for (const [sample, outcome] of outcomes) {
    const { preview, model } = sample;
    const { reading, judgement } = outcome;
    if (preview === null || reading === null || judgement === null) continue;
    if (verdictOf(sample, outcome) === "not reproducible") continue;
    const { width, height } = await decodeImage(await readPreview(preview), preview.file);
    const { rounding, request } = reading;
    cases.push({ sample, preview, shot: { model, rounding, request }, judgement, width, height });
  }
  return cases;
}

function explainedBy({ found, common }: Findings): Explained {
  const pictures = Object.fromEntries(
    [...found].map(([file, { causes, tried, note }]) => [
      file,
      {
        causes: causes.map(({ explains: _, ...cause }) => cause),
        note: causes.some(({ explains }) => explains)
          ? null
          : `none of ${tried} changes explains it${note === null ? "" : `; ${note}`}`,
      },
    ]),
  );
  return { pictures, common };
}

/** For a person who reads of the whole job. */
export function commonNote(common: ReportCommonCause | null): string[] {
  if (common === null) return [];
  const { sentence, flag, explained, different } = common;
  const hint = flag === null ? "" : ` (${flag})`;
  return [`${explained} of ${different} pictures that differ: ${sentence}${hint}`];
}
