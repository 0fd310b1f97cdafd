import { setImmediate } from "node:timers/promises";
import { CanceledError } from "../errors.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Findings, Search } from "./findings.ts";
import { conclude, explains } from "./findings.ts";
import type { Expectation, Judgement } from "./judge.ts";
import { refine } from "./refine.ts";
import type { Shot } from "./shot.ts";
import { costOf, effectOf } from "./shot.ts";
import type { Tried } from "./trials.ts";
import { tryChanges } from "./trials.ts";
import type { Asked, Case, Trial } from "./trials-for.ts";
import { trialsFor } from "./trials-for.ts";

export interface SearchOptions {
  readonly draw: (shot: Shot) => Promise<Tensor>;
  readonly judge: (one: Case, image: Tensor, expected: Expectation) => Promise<Judgement>;
  /** Milliseconds of `performance.now()` after which no further picture is begun. */
  readonly deadline: number;
  readonly signal?: AbortSignal | undefined;
  /** Told before each picture that is drawn. */
  readonly onTrial?: (file: string, trial: Pick<Trial, "factor" | "value">) => void;
}

/** Pictures that are searched to the end without success, before the others are only tried with what is known. */
const mostFruitless = 3;

/** What explained a picture is tried first on the others until it has failed so often more than not. */
const mostFailures = 2;

/** Of pictures that are close as they are, so many are drawn with other roundings. */
const mostClose = 2;

/**
 * In dB: from here on a close picture is taken for right. Right ones of bf16 and quantised jobs were
 * 34 to 48 dB, and most of a job's above 40. Below it, a job's worst one is searched for likely causes.
 */
const surelyRight = 40;
/** Tiers up to here are the likely ones. */
const likelyTier = 1;

/**
 * Looks for what explains the pictures of a job that differ from their retakes. What explains one
 * is tried first on the others, so a cause that all share costs one search and one picture each.
 *
 * @throws CanceledError after the signal
 */
export async function findCauses(
  asked: Asked,
  cases: readonly Case[],
  options: SearchOptions,
): Promise<Findings> {
  const right = cases.filter(({ judgement }) => isRight(judgement));
  const sampleOf = ({ preview: { index, set } }: Case) => `${set} ${index}`;
  const rightStarts = new Set(right.filter(({ preview }) => preview.step === 0).map(sampleOf));
  const searches = searchOrder(cases).map(
    (one): Search => ({ one, tried: [], note: null, complete: true }),
  );
  /** What explained a picture, and how many more it explained than not. */
  const known = new Map<string, { readonly trial: Trial; balance: number }>();
  let fruitless = 0;
  let close = 0;
  for (const search of searches) {
    const { one } = search;
    // To plan the changes of thousands of pictures takes long, even if none is drawn.
    await setImmediate();
    if (options.signal?.aborted === true) throw new CanceledError();
    if (performance.now() > options.deadline) {
      leaveOff(search);
      continue;
    }
    const isClose = one.judgement.verdict === "close";
    const startIsRight = rightStarts.has(sampleOf(one));
    const isExplained = () => search.tried.some((tried) => explains(one, tried));
    const promising = new Set(
      [...known].flatMap(([key, { balance }]) => (balance > -mostFailures ? [key] : [])),
    );
    if (promising.size > 0) {
      await draw(search, trialsFor(asked, one, startIsRight, promising), options, () => false);
      for (const key of keysOf(search.tried.filter((tried) => !explains(one, tried))))
        if (known.has(key)) known.get(key)!.balance--;
    }
    if (!isExplained() && isClose && close < mostClose) {
      const worst = close++ === 0 && !isRight(one.judgement);
      const likely = trialsFor(asked, one, startIsRight).filter(
        ({ factor, tier }) => factor === "quantisation" || (worst && tier <= likelyTier),
      );
      await draw(search, likely, options, isEqual);
    }
    if (!isExplained() && !isClose) {
      if (fruitless >= mostFruitless) {
        search.note = `only what explains others was tried: ${mostFruitless} pictures were searched to the end`;
        continue;
      }
      const familiar = new Set([...known.values()].map(({ trial }) => trial.factor));
      await searchAll(search, trialsFor(asked, one, startIsRight), familiar, options);
      if (!isExplained()) fruitless++;
    }
    for (const { changes } of search.tried.filter((tried) => explains(one, tried))) {
      for (const trial of changes) {
        const balance = known.get(trial.key)?.balance ?? 0;
        known.set(trial.key, { trial, balance: balance + 1 });
      }
    }
  }
  const causes = [...known.values()].map(({ trial }) => trial);
  return conclude(asked, searches, right, causes);
}

function keysOf(tried: readonly Tried<Trial>[]): Set<string> {
  return new Set(tried.flatMap(({ changes }) => changes.map(({ key }) => key)));
}

/** Before training first, where only the request counts; then what is drawn fastest. Close ones last, the worst first. */
function searchOrder(cases: readonly Case[]): Case[] {
  const rank = ({ judgement, preview }: Case) =>
    judgement.verdict === "close" ? 2 : preview.step === 0 ? 0 : 1;
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
  // What is judged otherwise is another trial of the same picture.
  const effect = ({ shot, expected }: Pick<Trial, "shot" | "expected">) =>
    `${expected} ${effectOf(shot)}`;
  const done = new Set(search.tried.map(({ changes }) => effect(changes[0]!)));
  const rest = trials.filter((trial) => !done.has(effect(trial)));
  const { tried, complete } = await tryChanges(
    one,
    rest,
    {
      deadline: options.deadline,
      effect,
      unchanged: effect({ shot: one.shot, expected: one.sample.expected }),
      draw: async (trial) => {
        options.onTrial?.(one.preview.file, trial);
        return await options.judge(one, await options.draw(trial.shot), trial.expected);
      },
    },
    enough,
  );
  search.tried.push(...tried);
  if (!complete) leaveOff(search);
}

function leaveOff(search: Search): void {
  search.complete = false;
  search.note = "time ran out before everything was tried";
}
