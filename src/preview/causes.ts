import type { Tensor } from "../tensor/tensor.ts";
import type { Expectation, Judgement } from "./judge.ts";
import { refine } from "./refine.ts";
import type { Shot } from "./shot.ts";
import { costOf, effectOf } from "./shot.ts";
import type { Tried } from "./trials.ts";
import { nearness, tryChanges } from "./trials.ts";
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

export interface SearchOptions {
  readonly draw: (shot: Shot) => Promise<Tensor>;
  readonly judge: (one: Case, image: Tensor, expected: Expectation) => Promise<Judgement>;
  /** Milliseconds of `performance.now()` after which no further picture is begun. */
  readonly deadline: number;
  /** Told before each picture that is drawn. */
  readonly onTrial?: (file: string, trial: Pick<Trial, "factor" | "value">) => void;
}

/**
 * In dB. Below it a change that leaves the picture different, or a picture close that was close
 * before, is chance.
 */
const leastGain = 3;

/** What a cause loses for each right picture that it would draw otherwise, in dB. */
const spoiledGain = 60;

/** Pictures that are searched to the end without success, before the others are only tried with what is known. */
const mostFruitless = 3;

/** Of pictures that are close as they are, so many are drawn with other roundings. */
const mostClose = 2;

/**
 * In dB: from here on a close picture is taken for right. Right ones of bf16 and quantised jobs were
 * 34 to 48 dB, and most of a job's above 40. Below it, a job's worst one is searched for likely causes.
 */
const surelyRight = 40;
/** Tiers up to here are the likely ones. */
const likelyTier = 1;

/** What one picture's search has drawn. */
interface Search {
  readonly one: Case;
  tried: Tried<Trial>[];
  note: string | null;
  complete: boolean;
}

/**
 * Looks for what explains the pictures of a job that differ from their retakes. What explains one
 * is tried first on the others, so a cause that all share costs one search and one picture each.
 */
export async function findCauses(
  asked: Asked,
  cases: readonly Case[],
  options: SearchOptions,
): Promise<Findings> {
  const right = cases.filter(({ judgement }) => isRight(judgement));
  const startIsRight = ({ preview: { index, set } }: Case) =>
    right.some(
      ({ preview }) => preview.step === 0 && preview.index === index && preview.set === set,
    );
  const searches = searchOrder(cases).map(
    (one): Search => ({ one, tried: [], note: null, complete: true }),
  );
  const known = new Map<string, Trial>();
  let fruitless = 0;
  let close = 0;
  for (const search of searches) {
    const { one } = search;
    const isClose = one.judgement.verdict === "close";
    const all = trialsFor(asked, one, startIsRight(one));
    await draw(
      search,
      all.filter(({ key }) => known.has(key)),
      options,
      () => false,
    );
    const isExplained = () => search.tried.some((tried) => explains(one, tried));
    if (!isExplained() && isClose && close < mostClose) {
      const worst = close++ === 0 && !isRight(one.judgement);
      const likely = all.filter(
        ({ factor, tier }) => factor === "quantisation" || (worst && tier <= likelyTier),
      );
      await draw(search, likely, options, isEqual);
    }
    if (!isExplained() && !isClose) {
      if (fruitless >= mostFruitless) {
        search.note = `only what explains others was tried: ${mostFruitless} pictures were searched to the end`;
        continue;
      }
      const familiar = new Set([...known.values()].map(({ factor }) => factor));
      await searchAll(search, all, familiar, options);
      if (!isExplained()) fruitless++;
    }
    for (const { changes } of search.tried.filter((tried) => explains(one, tried)))
      for (const trial of changes) known.set(trial.key, trial);
  }
  return conclude(asked, searches, right, [...known.values()]);
}

/** Before training first, where only the request counts; then what is drawn fastest. */
function searchOrder(cases: readonly Case[]): Case[] {
  const rank = ({ judgement, preview }: Case) =>
    (judgement.verdict === "different" ? 0 : 2) + (preview.step === 0 ? 0 : 1);
  const nearest = (one: Case) =>
    one.judgement.verdict === "different" ? costOf(one.shot) : (one.judgement.psnr ?? 0);
  return cases
    .filter(({ judgement }) => judgement.verdict !== "equal")
    .toSorted((a, b) => rank(a) - rank(b) || nearest(a) - nearest(b));
}

/** Tier by tier; a factor that explains other pictures is tried before those that don't. */
async function searchAll(
  search: Search,
  all: readonly Trial[],
  familiar: ReadonlySet<string>,
  options: SearchOptions,
): Promise<void> {
  const { one } = search;
  const tierOf = ({ tier, factor }: Trial) => (familiar.has(factor) ? -1 : tier);
  const explained = () => search.tried.some((tried) => explains(one, tried));
  for (const tier of new Set(all.map(tierOf).toSorted((a, b) => a - b))) {
    // A picture that is only close may have a nearer one: its tier is tried to the end.
    await draw(
      search,
      all.filter((trial) => tierOf(trial) === tier),
      options,
      isEqual,
    );
    if (explained() || search.note !== null) return;
  }
  await refine(one, search.tried, (trials) => draw(search, trials, options, isEqual));
}

function isRight({ verdict, psnr }: Judgement): boolean {
  return verdict === "equal" || (verdict === "close" && psnr !== null && psnr >= surelyRight);
}

function isEqual({ verdict }: Judgement): boolean {
  return verdict === "equal";
}

async function draw(
  search: Search,
  trials: readonly Trial[],
  options: SearchOptions,
  enough: (judgement: Judgement) => boolean,
): Promise<void> {
  const { one } = search;
  const done = new Set(search.tried.map(({ changes }) => effectOf(changes[0]!.shot)));
  const rest = trials.filter(({ shot }) => !done.has(effectOf(shot)));
  const { tried, complete } = await tryChanges(
    one,
    rest,
    {
      deadline: options.deadline,
      draw: async (trial) => {
        options.onTrial?.(one.preview.file, trial);
        return await options.judge(one, await options.draw(trial.shot), trial.expected);
      },
    },
    enough,
  );
  search.tried.push(...tried);
  if (complete) return;
  search.complete = false;
  search.note = "time ran out before everything was tried";
}

/** A picture that was close before has to come nearer by more than chance. */
function explains({ judgement: before }: Case, { judgement, gain }: Tried<Trial>): boolean {
  if (judgement.verdict === "equal") return true;
  return judgement.verdict === "close" && gain >= leastGain && before.verdict !== "equal";
}

function gainOf(key: string, tried: readonly Tried<Trial>[]): number {
  const of = tried.filter(({ changes }) => changes.some((trial) => trial.key === key));
  return Math.max(...of.map(({ gain }) => gain));
}

/** Sums for each cause how much nearer it comes, less what it would spoil. */
function conclude(
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

/** Right pictures within a cause's reach that it would have drawn otherwise. */
function spoiled(
  asked: Asked,
  { key, reach }: Trial,
  explained: readonly Search[],
  right: readonly Case[],
): number {
  if (reach === "picture") return 0;
  const rounds = new Set(explained.map(({ one }) => one.preview.round));
  return right.filter((one) => {
    if (reach === "round" && !rounds.has(one.preview.round)) return false;
    const trials = trialsFor(asked, one, false).filter((other) => other.key === key);
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
    each.changes.map((trial) => ({ trial, cause: causeOf(trial, each, isCause) }));
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
