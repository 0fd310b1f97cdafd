import { decodeImage } from "../image/decode-image.ts";
import type { ReportCause, ReportCommonCause } from "../wire/report.ts";
import { findCauses } from "./causes.ts";
import type { Findings } from "./findings.ts";
import type { Inputs } from "./inputs.ts";
import { hashText } from "./inputs.ts";
import type { SampleSection } from "./job-config.ts";
import type { JobFolder } from "./job-folder.ts";
import { judge } from "./judge.ts";
import type { Notebook } from "./notebook.ts";
import type { Plan, PlannedSample } from "./plan.ts";
import type { PreviewFile } from "./preview-files.ts";
import { readPreview } from "./preview-files.ts";
import type { Renderer } from "./renderer.ts";
import type { Outcome } from "./sample-report.ts";
import { verdictOf } from "./sample-report.ts";
import type { Asked, Case } from "./trials-for.ts";

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
  const { cases, asked, left } = searchable(plan, await casesOf(outcomes));
  const madeFrom = await Promise.all(
    cases.map(({ sample, shot }) =>
      inputs.of(sample, [{ ...shot, profile: sample.profile, says: "" }]),
    ),
  );
  const hash = hashText(madeFrom.join());
  const known = notebook.find("causes", hash) as Explained | undefined; // this version's own
  if (known !== undefined) return known;
  const findings = await findCauses(asked, cases, {
    deadline,
    signal,
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
  const explained = withLeft(explainedBy(findings), left);
  const isWhole = [...findings.found.values()].every(({ complete }) => complete);
  // What time ran out for is looked for again.
  if (isWhole) await notebook.note("causes", hash, explained);
  return explained;
}

/** So many pictures of a large job are searched: each is planned in a hundred ways, with all others. */
const mostCases = 60;
/** Of a section. */
const mostSamples = 300;

/** A large job is searched by its first samples. */
function searchable(plan: Plan, cases: readonly Case[]) {
  const { job, options } = plan;
  const { config } = job;
  const longest = Math.max(config.sample.items.length, config.firstSample?.items.length ?? 0);
  if (longest <= mostSamples && cases.length <= mostCases) {
    return { asked: plan as Asked, cases, left: [] };
  }
  const first = cases.filter(({ preview }) => preview.index < mostSamples);
  const isOpen = ({ judgement }: Case) => judgement.verdict !== "equal";
  const open = first.filter(isOpen).slice(0, mostCases);
  const right = first.filter((one) => !isOpen(one)).slice(0, mostCases);
  const chosen = new Set([...open, ...right].map(({ preview }) => preview.file));
  const rounds = new Set<number>();
  // A round's era is told by its time, so each keeps a picture.
  const isKept = ({ file, round }: PreviewFile) => {
    const isFirst = !rounds.has(round);
    rounds.add(round);
    return isFirst || chosen.has(file);
  };
  const cut = (section: SampleSection) => ({
    ...section,
    items: section.items.slice(0, mostSamples),
  });
  const small: JobFolder = {
    ...job,
    previews: job.previews.filter(isKept),
    config: {
      ...config,
      sample: cut(config.sample),
      firstSample: config.firstSample === null ? null : cut(config.firstSample),
    },
  };
  const left = cases.filter((one) => isOpen(one) && !chosen.has(one.preview.file));
  return { asked: { job: small, options } as Asked, cases: [...open, ...right], left };
}

/** Says of pictures that were not searched that they were not. */
function withLeft({ pictures, common }: Explained, left: readonly Case[]): Explained {
  const searched = Object.keys(pictures).length;
  const note = `a cause was looked for in ${searched} other pictures only: the job has too many`;
  const others = left.map(({ preview }) => [preview.file, { causes: [], note }]);
  return { pictures: { ...pictures, ...Object.fromEntries(others) }, common };
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
        note: causes.some(({ explains }) => explains) ? null : unexplained(tried, note),
      },
    ]),
  );
  return { pictures, common };
}

function unexplained(tried: number, note: string | null): string {
  if (tried === 0 && note !== null) return `no change was tried on it: ${note}`;
  return `none of ${tried} changes explains it${note === null ? "" : `; ${note}`}`;
}

/** For a person who reads of the whole job. */
export function commonNote(common: ReportCommonCause | null): string[] {
  if (common === null) return [];
  const { sentence, flag, explained, different } = common;
  const hint = flag === null ? "" : ` (${flag})`;
  return [`${explained} of ${different} pictures that differ: ${sentence}${hint}`];
}
