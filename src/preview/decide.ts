import type { Judgement } from "./judge.ts";
import type { PlannedSample, Reading } from "./plan.ts";
import { effectOf } from "./shot.ts";

/** Which of the ways it was that the pictures of one version were drawn in. */
export interface Decision {
  /** In the samples' `candidates`. */
  readonly chosen: number;
  /** Goes on after "because the LoRA says …"; null: nothing could be told. */
  readonly reason: string;
}

/**
 * Finds by trying in which of several ways a version drew its pictures: where their retakes differ,
 * one is drawn in each way. Pictures of step 0 come first, as no LoRA is in them, then those that
 * are drawn fastest.
 *
 * @param samples with the same candidates, more than one
 * @param draw null: this sample can't be compared
 */
export async function decide(
  samples: readonly PlannedSample[],
  draw: (sample: PlannedSample, reading: Reading) => Promise<Judgement | null>,
): Promise<Decision> {
  const ways = samples[0]!.candidates;
  let open = ways.map((_, i) => i);
  const told: string[] = [];
  for (const sample of samples.toSorted((a, b) => a.step - b.step || costOf(a) - costOf(b))) {
    const groups = groupsOf(sample, open);
    if (groups.length === 1) continue;
    const tried: { readonly group: readonly number[]; readonly psnr: number }[] = [];
    for (const group of groups) {
      const judgement = await draw(sample, sample.candidates[group[0]!]!);
      if (judgement === null) break;
      tried.push({ group, psnr: judgement.psnr ?? 0 });
      if (judgement.verdict === "equal") break;
    }
    if (tried.length === 0) continue;
    const [best, second] = tried.toSorted((a, b) => b.psnr - a.psnr);
    open = [...best!.group];
    const others = second === undefined ? "" : `, the next ${second.psnr.toFixed(1)} dB`;
    told.push(
      `tried on step ${sample.step}, sample ${sample.index}, "${ways[open[0]!]!.says}" comes nearest: ${best!.psnr.toFixed(1)} dB${others}`,
    );
    if (open.length === 1) break;
  }
  return {
    chosen: open[0]!,
    reason:
      told.length > 0
        ? told.join("; ")
        : `it may be ${ways.map(({ says }) => `"${says}"`).join(" or ")}, which these pictures don't tell apart`,
  };
}

/** The open ways, those that give the same picture together. */
function groupsOf(sample: PlannedSample, open: readonly number[]): number[][] {
  const groups = new Map<string, number[]>();
  for (const way of open) {
    const { rounding, request } = sample.candidates[way]!;
    const effect = effectOf({ model: sample.model, rounding, request });
    groups.set(effect, [...(groups.get(effect) ?? []), way]);
  }
  return [...groups.values()];
}

function costOf({ request }: PlannedSample): number {
  const { width = 0, height = 0, steps = 0 } = request ?? {};
  return width * height * steps;
}
