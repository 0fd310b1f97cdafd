import { hypothesesFor } from "./factors.ts";
import type { Hypothesis } from "./hypothesis.ts";
import type { JobFolder } from "./job-folder.ts";
import type { Expectation, Judgement } from "./judge.ts";
import type { PlannedSample, PlanOptions } from "./plan.ts";
import { planRetakes } from "./plan.ts";
import type { PreviewFile } from "./preview-files.ts";
import type { Shot } from "./shot.ts";
import { isDrawable, sizeOfShot } from "./shot.ts";
import type { Change } from "./trials.ts";
import type { ValueChange } from "./values.ts";
import { sizeChange, valueChanges } from "./values.ts";

/** A preview that can be taken again, and how near its retake came. */
export interface Case {
  readonly sample: PlannedSample;
  readonly preview: PreviewFile;
  readonly shot: Shot;
  readonly judgement: Judgement;
  /** Of the preview's file, in pixels. */
  readonly width: number;
  readonly height: number;
}

/** A change that can be told again on another picture. */
export interface Trial extends Change {
  /** Factor and value: the same on every picture. */
  readonly key: string;
  readonly reach: Hypothesis["reach"];
  /** How near a picture comes if it is the cause. */
  readonly expected: Expectation;
  /** 0: tried first. */
  readonly tier: number;
}

/** What a job's plan was made of. */
export interface Asked {
  readonly job: JobFolder;
  readonly options: PlanOptions;
}

/** By how often it is met; a picture's size is known without drawing. */
const tiers: Readonly<Record<string, number>> = {
  size: 0,
  era: 0,
  trigger: 0,
  lora: 1,
  quantisation: 1,
  walk_seed: 1,
  seed_leak: 1,
  guidance: 1,
  steps: 1,
  multiplier: 1,
  negative_prompt: 1,
  first_sample: 2,
  prompt: 2,
  sample: 2,
  model: 2,
  seed: 2,
  dtype: 4,
};
const rare = 3;
/** So many seeds are tried with the other factors, the others last. */
const likelySeeds = 4;

/** The LoRA's part, where the picture before training is right. */
const ofLora = ["lora", "multiplier"];

/**
 * What is tried for a picture, in the order of trying. What would have another size than the file
 * is not worth drawing and left out.
 *
 * @param startIsRight the picture of the same sample at step 0 is right
 * @param keys only these
 */
export function trialsFor(
  asked: Asked,
  one: Case,
  startIsRight: boolean,
  keys?: ReadonlySet<string>,
): Trial[] {
  const { sample, shot, width, height } = one;
  const fits = (other: Shot) => {
    const size = sizeOfShot(other);
    return size.width === width && size.height === height;
  };
  const tierOf = (factor: string, likely: boolean) => {
    if (startIsRight && ofLora.includes(factor)) return likely ? 0 : 1;
    return likely ? tiers[factor]! : rare;
  };
  const trials: Trial[] = [];
  const isWanted = (factor: string, value: string) => keys?.has(keyOf(factor, value)) ?? true;
  const add = (words: Omit<Trial, "key" | "tier">, likely: boolean) => {
    const { factor, value, shot: changed } = words;
    if (!isWanted(factor, value) || !isDrawable(changed) || !fits(changed)) return;
    trials.push({ ...words, tier: tierOf(factor, likely), key: keyOf(factor, value) });
  };
  let seeds = 0;
  for (const hypothesis of hypothesesFor(asked.job, asked.options, sample)) {
    const { factor, value, sentence, flag, reach } = hypothesis;
    const likely = factor !== "seed" || seeds++ < likelySeeds;
    if (!isWanted(factor, value)) continue;
    for (const planned of planFor(hypothesis, one.preview))
      add({ factor, value, sentence, flag, reach, ...planned }, likely);
  }
  for (const base of readingsOf(sample, shot)) {
    const { expected } = sample;
    const words = { flag: null, reach: "round", expected } as const;
    if ((base.request.loras ?? []).length > 0) add({ ...withoutLora(base), ...words }, true);
    const values: Iterable<ValueChange> = fits(base)
      ? valueChanges(base, negativesOf(asked.job), seedsOf(asked.job))
      : [sizeChange(base, width, height)];
    for (const { likely, ...change } of values) {
      add({ ...change, ...words, reach: "picture" }, likely);
    }
  }
  return trials.toSorted((a, b) => a.tier - b.tier);
}

function keyOf(factor: string, value: string): string {
  return `${factor} ${value}`;
}

/** The shot that was drawn, and those that it could have been as well. */
function readingsOf({ model, candidates }: PlannedSample, shot: Shot): Shot[] {
  return [shot, ...candidates.map(({ rounding, request }) => ({ model, rounding, request }))];
}

/** The same preview, as the changed job draws it; a version may have drawn it in several ways. */
function planFor(
  { job, options }: Hypothesis,
  { file, step, index }: PreviewFile,
): { shot: Shot; expected: Expectation }[] {
  const { samples } = planRetakes(job, { ...options, steps: [step], samples: [index] });
  const found = samples.find(({ preview }) => preview?.file === file);
  return (found?.candidates ?? []).map(({ rounding, request }) => ({
    shot: { model: found!.model, rounding, request },
    expected: found!.expected,
  }));
}

/** Told apart from a multiplier of 0 by its reach: what has no LoRA at all, no picture of the round has. */
function withoutLora(shot: Shot) {
  return {
    factor: "lora",
    value: "none",
    sentence: "it was drawn without a LoRA",
    shot: { ...shot, request: { ...shot.request, loras: [] } },
  };
}

/** Of what a configuration has: each is drawn. */
const mostOfConfig = 50;

/** Those that stand in the configuration. */
function seedsOf({ config }: JobFolder): bigint[] {
  const sections = [config.sample, ...(config.firstSample === null ? [] : [config.firstSample])];
  const all = sections.flatMap(({ seed, items }) => [seed, ...items.map((item) => item.seed)]);
  const seeds = all.flatMap((seed) => {
    if (typeof seed === "bigint") return seed < 0n ? [] : [seed];
    return typeof seed === "number" && Number.isInteger(seed) && seed >= 0 ? [BigInt(seed)] : [];
  });
  return [...new Set(seeds)].slice(0, mostOfConfig);
}

function negativesOf({ config }: JobFolder): string[] {
  const all = [...config.sample.items, ...(config.firstSample?.items ?? [])];
  const texts = all.flatMap(({ negativePrompt }) =>
    typeof negativePrompt === "string" ? [negativePrompt] : [],
  );
  return [...new Set(texts)].slice(0, mostOfConfig);
}
