import type { Difference } from "../tools/differences.ts";
import type { SettingName, ToolSettings } from "../tools/settings.ts";
import type { Draft } from "./draft.ts";
import { shotOf, withSetting, withSize } from "./draft.ts";
import { guessesFor } from "./guesses.ts";
import type { Judgement } from "./judge.ts";
import type { Shot } from "./shot.ts";
import { effectOf, sizeOfShot } from "./shot.ts";
import type { TrainedLora } from "./trained-loras.ts";
import type { Change, Tried } from "./trials.ts";
import { nearness, tryChanges } from "./trials.ts";

/** A setting that was taken over from the other picture, and brought the retake nearer to it. */
interface Step {
  readonly setting: SettingName;
  readonly value: string;
  readonly sentence: string;
  /** Whether the other tool wrote it, or it was guessed. */
  readonly written: boolean;
  /** After this change and those before it, in dB. */
  readonly psnr: number | null;
  readonly gain: number;
}

export interface Explanation {
  /** The preview's own shot against the other picture. */
  readonly before: Judgement;
  /** The one that brings most first. */
  readonly steps: readonly Step[];
  readonly after: Judgement;
  readonly explained: boolean;
  /** Differences that can't be drawn here, and why. */
  readonly unfit: readonly { readonly setting: SettingName; readonly reason: string }[];
  /** Pictures drawn. */
  readonly tried: number;
  readonly complete: boolean;
}

interface Candidate extends Change {
  readonly setting: SettingName;
  readonly written: boolean;
  readonly draft: Draft;
}

/** In dB: what a written difference, and a guess, must bring to be named. */
const leastGain = { written: 0.5, guess: 3 } as const;
/** Guesses that are taken over at most. */
const mostGuesses = 2;

/**
 * Draws the preview with one setting after the other as the other picture's tool had it, each time
 * keeping the one that comes nearest, until the picture is explained or nothing comes nearer.
 */
export async function explainPicture(
  shot: Shot,
  other: {
    readonly settings: ToolSettings | null;
    readonly differences: readonly Difference[];
    readonly loras: readonly Pick<TrainedLora, "file" | "path">[];
    /** Of the file, in pixels. */
    readonly width: number;
    readonly height: number;
  },
  darkroom: { readonly draw: (shot: Shot) => Promise<Judgement>; readonly deadline: number },
): Promise<Explanation> {
  const before = await darkroom.draw(shot);
  let now: { draft: Draft; judgement: Judgement } = {
    draft: { shot, schedule: null },
    judgement: before,
  };
  const steps: Step[] = [];
  let drawn = 1;
  let complete = true;
  const next = async (candidates: readonly Candidate[], least: number): Promise<boolean> => {
    const draw = ({ shot: changed }: Candidate) => darkroom.draw(changed);
    const result = await tryChanges(
      now,
      candidates,
      {
        effect: ({ shot: changed }) => effectOf(changed),
        unchanged: effectOf(shotOf(now.draft)),
        draw,
        deadline: darkroom.deadline,
      },
      isEqual,
    );
    drawn += result.tried.length;
    complete &&= result.complete;
    const best = nearestOf(result.tried);
    if (best === undefined || best.gain < least) return false;
    const [{ setting, value, sentence, written, draft }] = best.changes as [Candidate];
    const { judgement, gain } = best;
    steps.push({ setting, value, sentence, written, psnr: judgement.psnr, gain });
    now = { draft, judgement };
    return true;
  };

  /** Settings may help together where none does alone; what is lost without one is its share. */
  const takeAll = async (differences: readonly Difference[], settings: ToolSettings) => {
    const whole = applied(now.draft, differences, settings, other.loras);
    const judgement = await darkroom.draw(shotOf(whole));
    drawn++;
    if (nearness(judgement) - nearness(now.judgement) < leastGain.guess) return;
    const shares: Step[] = [];
    for (const one of differences) {
      if (performance.now() > darkroom.deadline) return;
      const rest = differences.filter((difference) => difference !== one);
      const without = await darkroom.draw(shotOf(applied(now.draft, rest, settings, other.loras)));
      drawn++;
      const gain = nearness(judgement) - nearness(without);
      const { setting } = one;
      const words = { setting, value: one.second, sentence: sentenceOf(one), written: true };
      if (gain >= leastGain.written) shares.push({ ...words, psnr: judgement.psnr, gain });
    }
    steps.push(...shares.toSorted((a, b) => b.gain - a.gain));
    now = { draft: whole, judgement };
  };

  // Pictures of another size can't be compared, so nothing else could come nearer before.
  await next(sizeCandidate(now.draft, other), leastGain.written);
  let left = other.differences.filter(({ setting }) => setting !== "size");
  const { settings } = other;
  // What is written counts even in a picture that bf16 could explain.
  while (!isEqual(now.judgement) && settings !== null && left.length > 0) {
    const candidates = left.flatMap((one) => candidateOf(now.draft, one, settings, other.loras));
    if (!(await next(candidates, leastGain.written))) break;
    left = left.filter(({ setting }) => setting !== steps.at(-1)!.setting);
  }
  if (!explains(now.judgement) && settings !== null && left.length > 1) {
    await takeAll(left, settings);
  }
  for (let i = 0; i < mostGuesses && !explains(now.judgement); i++) {
    const taken = new Set(steps.map(({ setting }) => setting));
    const guesses = [...guessesFor(now.draft)].filter(({ setting }) => !taken.has(setting));
    const candidates = guesses.map((guess): Candidate => {
      const { setting, value, sentence, draft } = guess;
      const words = { factor: setting, value, sentence, flag: null };
      return { ...words, setting, written: false, draft, shot: shotOf(draft) };
    });
    if (!(await next(candidates, leastGain.guess))) break;
  }
  const unfit = other.differences.flatMap(({ setting }): Explanation["unfit"][number][] => {
    if (setting === "size") {
      const reason = `its file has ${other.width} x ${other.height} pixels`;
      return steps.some((one) => one.setting === "size") ? [] : [{ setting, reason }];
    }
    const draft = settings === null ? null : withSetting(now.draft, setting, settings, other.loras);
    return draft !== null && "unfit" in draft ? [{ setting, reason: draft.unfit }] : [];
  });
  const explained = explains(now.judgement);
  return { before, steps, after: now.judgement, explained, unfit, tried: drawn, complete };
}

/** The size of the other picture's file, if it can be drawn. */
function sizeCandidate(
  draft: Draft,
  { width, height }: { readonly width: number; readonly height: number },
): Candidate[] {
  const own = sizeOfShot(draft.shot);
  const changed = withSize(draft, width, height);
  if ("unfit" in changed || isSize(own, width, height)) return [];
  // The era floors it to a multiple that the other tool does not need.
  if (!isSize(sizeOfShot(changed.shot), width, height)) return [];
  const value = `${width} x ${height}`;
  const sentence = `one has ${own.width} x ${own.height} pixels; the other ${value}`;
  const words = { factor: "size", value, sentence, flag: null };
  return [{ ...words, setting: "size", written: true, draft: changed, shot: shotOf(changed) }];
}

function isSize(
  size: { readonly width: number; readonly height: number },
  width: number,
  height: number,
): boolean {
  return size.width === width && size.height === height;
}

/** With all of them that can be drawn here. */
function applied(
  draft: Draft,
  differences: readonly Difference[],
  settings: ToolSettings,
  loras: readonly Pick<TrainedLora, "file" | "path">[],
): Draft {
  return differences.reduce((before, { setting }) => {
    const after = withSetting(before, setting, settings, loras);
    return "unfit" in after ? before : after;
  }, draft);
}

function sentenceOf({ first, second }: Difference): string {
  return `one has ${first}; the other ${second}`;
}

function candidateOf(
  draft: Draft,
  difference: Difference,
  settings: ToolSettings,
  loras: readonly Pick<TrainedLora, "file" | "path">[],
): Candidate[] {
  const { setting, second } = difference;
  const changed = withSetting(draft, setting, settings, loras);
  if ("unfit" in changed) return [];
  const words = { factor: setting, value: second, sentence: sentenceOf(difference), flag: null };
  return [{ ...words, setting, written: true, draft: changed, shot: shotOf(changed) }];
}

function nearestOf(tried: readonly Tried<Candidate>[]): Tried<Candidate> | undefined {
  return tried.toSorted((a, b) => b.gain - a.gain)[0];
}

function isEqual({ verdict }: Judgement): boolean {
  return verdict === "equal";
}

function explains({ verdict }: Judgement): boolean {
  return verdict !== "different";
}
