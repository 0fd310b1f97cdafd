import { effectOf } from "./shot.ts";
import type { Tried } from "./trials.ts";
import { nearness } from "./trials.ts";
import type { Asked, Case, Trial } from "./trials-for.ts";
import { trialsFor } from "./trials-for.ts";

/** Why a preview may differ from its retake, found by drawing it so. */
interface Cause {
  /** `era`, `guidance`, `steps`, `size`, `multiplier`, `trigger`, `model`, `lora`, `quantisation`, `seed`, … */
  readonly factor: string;
  /** What the factor would have been. */
  readonly value: string;
  /** Of the picture drawn so, in dB. */
  readonly psnr: number;
  /** In dB over the retake; over 0 dB where that had another size. */
  readonly gain: number;
  /** Follows "because". */
  readonly sentence: string;
  /** What makes `retake preview` draw it so, or null. */
  readonly flag: string | null;
  /** It leaves nothing open; otherwise it only comes nearer. */
  readonly explains: boolean;
}

/** What was found for one preview. */
interface Found {
  /** The likeliest first; none: nothing that was tried explains the difference. */
  readonly causes: readonly Cause[];
  /** Pictures drawn. */
  readonly tried: number;
  /** Why not everything was tried, or null. */
  readonly note: string | null;
  /** Time did not run out. */
  readonly complete: boolean;
}

/** What explains most of a job's pictures. */
interface CommonCause extends Omit<Cause, "psnr" | "gain" | "explains"> {
  /** How many pictures its factor explains, with this value or another, of how many that differ. */
  readonly explained: number;
  readonly different: number;
}

export interface Findings {
  /** By the preview's file. */
  readonly found: ReadonlyMap<string, Found>;
  readonly common: CommonCause | null;
}

/**
 * In dB. Below it a change that leaves the picture different, or a picture close that was close
 * before, is chance.
 */
const leastGain = 3;

/** What a cause loses for each right picture that it would draw otherwise, in dB. */
const spoiledGain = 60;

/** What one picture's search has drawn. */
export interface Search {
  readonly one: Case;
  tried: Tried<Trial>[];
  note: string | null;
  complete: boolean;
}

/** A picture that was close before has to come nearer by more than chance. */
export function explains(
  { judgement: before }: Case,
  { judgement, gain, changes }: Tried<Trial>,
): boolean {
  if (judgement.verdict !== "close") return judgement.verdict === "equal";
  // What the job computed in changes no retake, only how near one can come.
  const isDtype = changes.some(({ factor }) => factor === "dtype");
  return gain >= leastGain || (isDtype && before.verdict === "different");
}

function gainOf(key: string, tried: readonly Tried<Trial>[]): number {
  const of = tried.filter(({ changes }) => changes.some((trial) => trial.key === key));
  return Math.max(...of.map(({ gain }) => gain));
}

/** Sums for each cause how much nearer it comes, less what it would spoil. */
export function conclude(
  asked: Asked,
  searches: readonly Search[],
  right: readonly Case[],
  known: readonly Trial[],
): Findings {
  const explainedBy = (key: string) =>
    searches.filter(({ one, tried }) =>
      tried.some((each) => explains(one, each) && each.changes.some((trial) => trial.key === key)),
    );
  const score = new Map(
    known.map((trial) => {
      const explained = explainedBy(trial.key);
      const gains = explained.map(({ tried }) => gainOf(trial.key, tried));
      const won = gains.reduce((sum, gain) => sum + gain, 0);
      return [trial.key, won - spoiledGain * spoiled(asked, trial, explained, right)];
    }),
  );
  const byScore = (a: Trial, b: Trial) => (score.get(b.key) ?? 0) - (score.get(a.key) ?? 0);
  const found = new Map(
    searches.map(({ one, tried, note, complete }) => [
      one.preview.file,
      { causes: causesOf(one, tried, byScore), tried: tried.length, note, complete },
    ]),
  );
  const [best] = known.toSorted(byScore);
  if (best === undefined) return { found, common: null };
  const { factor, value, sentence, flag } = best;
  const different = searches.filter(
    ({ one, tried }) =>
      one.judgement.verdict === "different" || tried.some((each) => explains(one, each)),
  ).length;
  const explained = searches.filter(({ one, tried }) =>
    tried.some(
      (each) => explains(one, each) && each.changes.some((trial) => trial.factor === factor),
    ),
  ).length;
  return { found, common: { factor, value, sentence, flag, explained, different } };
}

/** Enough to speak against a cause; a job may have thousands. */
const mostWitnesses = 48;

/** Right pictures within a cause's reach that it would have drawn otherwise. */
function spoiled(
  asked: Asked,
  { key, reach }: Trial,
  explained: readonly Search[],
  right: readonly Case[],
): number {
  if (reach === "picture") return 0;
  const rounds = new Set(explained.map(({ one }) => one.preview.round));
  const within = right.filter(({ preview }) => reach === "job" || rounds.has(preview.round));
  return within.slice(0, mostWitnesses).filter((one) => {
    const trials = trialsFor(asked, one, false, new Set([key]));
    return trials.length > 0 && trials.every(({ shot }) => effectOf(shot) !== effectOf(one.shot));
  }).length;
}

/** What explains the picture; if nothing does, the one change that comes nearest by more than chance. */
function causesOf(
  one: Case,
  tried: readonly Tried<Trial>[],
  byScore: (a: Trial, b: Trial) => number,
): Cause[] {
  const causes = (each: Tried<Trial>, isCause: boolean) =>
    // Two versions of one era are one cause.
    each.changes
      .filter(({ key }, i, all) => all.findIndex((other) => other.key === key) === i)
      .map((trial) => ({ trial, cause: causeOf(trial, each, isCause) }));
  const explaining = tried
    .filter((each) => explains(one, each))
    .toSorted((a, b) => b.gain - a.gain);
  if (explaining.length > 0) {
    return explaining
      .flatMap((each) => causes(each, true))
      .toSorted((a, b) => byScore(a.trial, b.trial))
      .map(({ cause }) => cause);
  }
  const [nearest] = tried.toSorted((a, b) => b.gain - a.gain);
  if (nearest === undefined || nearest.gain < leastGain) return [];
  return causes(nearest, false).map(({ cause }) => cause);
}

function causeOf(
  { factor, value, sentence, flag }: Trial,
  { judgement, gain }: Tried<Trial>,
  isCause: boolean,
): Cause {
  return { factor, value, psnr: nearness(judgement), gain, sentence, flag, explains: isCause };
}
