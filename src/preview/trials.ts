import { InputError } from "../errors.ts";
import type { Judgement } from "./judge.ts";
import type { Shot } from "./shot.ts";

/** One setting of a shot, changed. */
export interface Change {
  /** What was changed: `era`, `guidance`, `steps`, … */
  readonly factor: string;
  /** What it was changed to. */
  readonly value: string;
  /** What it would mean if it explained the picture, for a person; follows "because". */
  readonly sentence: string;
  /** What makes `retake preview` draw it so, or null. */
  readonly flag: string | null;
  readonly shot: Shot;
}

/** Changes that come to the same picture, and how near it is. */
export interface Tried<One extends Change> {
  readonly changes: readonly One[];
  readonly judgement: Judgement;
  /** In dB over the unchanged picture; over 0 dB where that can't be compared. */
  readonly gain: number;
}

export interface Darkroom<One extends Change> {
  /** What a change comes to: those with the same text are one. */
  readonly effect: (change: One) => string;
  /** The same of the base. */
  readonly unchanged: string;
  /** Draws a change and judges it. */
  readonly draw: (change: One) => Promise<Judgement>;
  /** Milliseconds of `performance.now()` after which no further picture is begun. */
  readonly deadline: number;
}

/** In dB; 0 for pictures of different sizes, which can't be compared. */
export function nearness({ psnr }: Judgement): number {
  return psnr ?? 0;
}

/**
 * Draws changed shots one after the other until one is good enough. Changes that come to the same
 * picture are drawn once and stay together; those that change nothing are not drawn, and what can't
 * be drawn here (a model that is not in the store, a LoRA of another shape) is left out.
 *
 * @param enough whether a picture explains the other one, so that nothing more is drawn
 * @returns in the order of drawing; not `complete` if time ran out before the end
 */
export async function tryChanges<One extends Change>(
  base: { readonly judgement: Judgement },
  changes: readonly One[],
  { effect, unchanged, draw, deadline }: Darkroom<One>,
  enough: (judgement: Judgement) => boolean,
): Promise<{ tried: Tried<One>[]; complete: boolean }> {
  const tried: Tried<One>[] = [];
  for (const alike of byEffect(changes, effect, unchanged)) {
    if (performance.now() > deadline) return { tried, complete: false };
    try {
      const judgement = await draw(alike[0]!);
      const gain = nearness(judgement) - nearness(base.judgement);
      tried.push({ changes: alike, judgement, gain });
      if (enough(judgement)) break;
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
    }
  }
  return { tried, complete: true };
}

/** In the order of each group's first. */
function byEffect<One extends Change>(
  changes: readonly One[],
  effectOf: (change: One) => string,
  unchanged: string,
): One[][] {
  const groups = new Map<string, One[]>();
  for (const change of changes) {
    const effect = effectOf(change);
    if (effect === unchanged) continue;
    const group = groups.get(effect);
    if (group === undefined) groups.set(effect, [change]);
    else group.push(change);
  }
  return [...groups.values()];
}
