import type { Tried } from "./trials.ts";
import type { Case, Trial } from "./trials-for.ts";
import type { ValueChange } from "./values.ts";
import { guidanceChange, multiplierChange, stepsChange } from "./values.ts";

/** Gain that shows that a number is the cause and only its value is not found yet, in dB. */
const promising = 3;

interface Adjustable {
  readonly change: (shot: Case["shot"], value: number) => ValueChange;
  readonly now: (shot: Case["shot"]) => number;
  /** Values are told apart down to here. */
  readonly finest: number;
}

const numbers: Readonly<Record<string, Adjustable>> = {
  guidance: {
    change: guidanceChange,
    now: ({ request }) => request.guidanceScale ?? 0,
    finest: 0.05,
  },
  multiplier: {
    change: multiplierChange,
    now: ({ request }) => request.loras?.[0]?.multiplier ?? 0,
    finest: 0.02,
  },
  steps: { change: stepsChange, now: ({ request }) => request.steps ?? 1, finest: 1 },
};

/**
 * Looks between the values that were tried, where one number comes nearest of all: halves the gap
 * on the better side again and again.
 *
 * @param draw adds to `tried`
 */
export async function refine(
  one: Case,
  tried: readonly Tried<Trial>[],
  draw: (trials: readonly Trial[]) => Promise<void>,
): Promise<void> {
  for (;;) {
    const best = bestOf(tried);
    const change = best?.changes.find(({ factor }) => Object.hasOwn(numbers, factor));
    if (best === undefined || change === undefined || best.gain < promising) return;
    if (best.judgement.verdict === "equal") return;
    const { factor, tier } = change;
    const number = numbers[factor]!;
    const values = tried
      .flatMap(({ changes }) => changes.filter((change) => change.factor === factor))
      .map(({ value }) => Number(value));
    const at = Number(change.value);
    const middles = gapsAround(at, [...values, number.now(one.shot)], number.finest);
    if (middles.length === 0) return;
    const before = tried.length;
    await draw(
      middles.map((value) => {
        const { likely: _, ...changed } = number.change(one.shot, value);
        const expected = one.sample.expected;
        return {
          ...changed,
          flag: null,
          reach: "picture" as const,
          expected,
          tier,
          key: `${factor} ${value}`,
        };
      }),
    );
    if (tried.length === before) return;
  }
}

function bestOf(tried: readonly Tried<Trial>[]): Tried<Trial> | undefined {
  return tried.toSorted((a, b) => b.gain - a.gain)[0];
}

/** The middles between a value and its neighbours, rounded to what people write. */
function gapsAround(at: number, values: readonly number[], finest: number): number[] {
  const below = Math.max(...values.filter((value) => value < at));
  const above = Math.min(...values.filter((value) => value > at));
  return [below, above]
    .filter((side) => Number.isFinite(side) && Math.abs(side - at) > finest * 1.5)
    .map((side) => rounded((side + at) / 2, Math.abs(side - at) / 4, finest))
    .filter((middle) => middle !== at && middle !== below && middle !== above);
}

/** To the coarsest of 1, 0.5, 0.1, 0.05, … that still lies well within the gap. */
function rounded(value: number, room: number, finest: number): number {
  const unit = [1, 0.5, 0.25, 0.1, 0.05, 0.02, 0.01].find((one) => one <= room || one <= finest)!;
  return Number((Math.round(value / unit) * unit).toFixed(2));
}
