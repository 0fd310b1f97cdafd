import type { GenerateInput, ProfileName } from "../job/request.ts";
import type { Rounding } from "../job/rounding.ts";
import { lorasOf } from "./adapter-beside.ts";
import type { BaseModel } from "./base-model.ts";
import { baseModelOf } from "./base-model.ts";
import type { JobConfig, SampleSection } from "./job-config.ts";
import type { JobFolder } from "./job-folder.ts";
import type { Expectation } from "./judge.ts";
import { requestOf } from "./request-of.ts";
import { roundingOf } from "./rounding-of.ts";
import { erasOfRounds, loraOfStep } from "./runs.ts";
import type { SampleEra } from "./sample-era.ts";
import { eraOf } from "./sample-era.ts";
import type { CachedPrompts, Drawn } from "./samples.ts";
import { trainerSamples } from "./samples.ts";
import type { Target } from "./targets.ts";
import { targetsFor } from "./targets.ts";
import type { TrainedLora } from "./trained-loras.ts";
import { reasonAgainst } from "./why-not.ts";

/** One way in which a picture may have been drawn. */
export interface Reading {
  readonly profile: ProfileName;
  readonly rounding: Rounding | null;
  readonly request: GenerateInput;
  /** In words, to tell it from the others. */
  readonly says: string;
}

/** A preview and how it is taken again. */
export interface PlannedSample extends Target {
  readonly model: string;
  readonly profile: ProfileName;
  /** Follows "because". */
  readonly profileReason: string;
  readonly rounding: Rounding | null;
  readonly roundingReason: string;
  readonly lora: TrainedLora | null;
  /** null where it can't be reproduced. */
  readonly request: GenerateInput | null;
  /** How near the retake can come. */
  readonly expected: Expectation;
  /** Why it can't be reproduced; null where it can. */
  readonly reason: string | null;
  /** Why the configuration may be another one than it was drawn with; null: nothing speaks for that. */
  readonly doubt: string | null;
  /** All ways in which it may have been drawn, the planned one first; trying decides where there are several. */
  readonly candidates: readonly Reading[];
  /** Samples of one name have the same ways in the same order: what is found for one counts for all. */
  readonly decidedWith: string;
}

export interface Plan {
  readonly job: JobFolder;
  readonly options: PlanOptions;
  readonly model: BaseModel;
  readonly samples: readonly PlannedSample[];
}

export interface PlanOptions {
  /** A profile of an era or a version of the trainer, in place of what the files say. */
  readonly era?: string;
  /** Rounds the weights as the trainer did, where it quantised; true if left out. */
  readonly asTrained?: boolean;
  /** The absolute path of a file to take as the job's training adapter. */
  readonly trainingAdapter?: string;
  /** Only these steps, and only these samples, counted from 0. */
  readonly steps?: readonly number[];
  readonly samples?: readonly number[];
}

/**
 * Says for every preview of a job how it is taken again, or why it can't be. No file is read.
 *
 * @throws InputError for a model that is not of the Z-Image family, an era, a step or a sample that is not there
 */
export function planRetakes(job: JobFolder, options: PlanOptions = {}): Plan {
  const model = baseModelOf(job.config);
  const eras = erasOfRounds(job);
  const drawn = drawnOf(job.config);
  const earlier = earlierRounds(job, drawn);
  const samples = targetsFor(job, options).map((target) => {
    const era = eraOf(job, target, eras, options.era);
    const sample = planSample({ job, model, options }, target, era, drawn);
    const count = target.preview === null ? undefined : earlier.get(target.preview.round);
    if (count === undefined) return sample;
    const doubt = `its round has pictures of ${count} samples, more than the configuration: it was drawn with an earlier one`;
    return { ...sample, doubt };
  });
  return { job, options, model, samples };
}

interface Context {
  readonly job: JobFolder;
  readonly model: BaseModel;
  readonly options: PlanOptions;
}

function planSample(
  { job, model, options }: Context,
  target: Target,
  { behaviours, reason: profileReason }: SampleEra,
  drawn: DrawnSets,
): PlannedSample {
  const lora = target.step === 0 ? null : loraOfStep(job, target.step);
  let whyNot: string | null = null;
  const readings: Reading[] = [];
  const { asTrained = true, trainingAdapter } = options;
  const wish = { asTrained, trainingAdapter };
  for (const behaviour of behaviours) {
    const round = drawn[target.set][behaviour.cachedPrompts];
    const sample = round[target.index];
    whyNot ??= reasonAgainst(job, target, lora, round);
    if (sample === undefined || "fault" in sample || sample.seed === "random") continue;
    const { profile, says } = behaviour;
    const { rounding } = roundingOf(job.config, model.id, behaviour, wish);
    const { multiplier, seed } = sample;
    // A LoRA at 0 is none: the trainer then skips it too.
    const own = lora === null || multiplier === 0 ? [] : [{ path: lora.path, multiplier }];
    const acting = { own, multiplier, rounding, drawn: round, trainingAdapter };
    const loras = lorasOf(job.config, model.id, profile, acting);
    if ("unknown" in loras) whyNot ??= loras.unknown;
    else
      readings.push({
        profile,
        says,
        rounding,
        request: requestOf({ ...sample, seed }, loras, profile),
      });
  }
  const candidates = whyNot === null ? readings : [];
  const likely = behaviours[0]!;
  return {
    ...target,
    model: model.id,
    profile: likely.profile,
    profileReason,
    rounding: candidates[0]?.rounding ?? null,
    roundingReason: roundingOf(job.config, model.id, likely, wish).reason,
    lora,
    request: candidates[0]?.request ?? null,
    expected: expectedOf(job.config, lora, candidates[0]?.rounding ?? null),
    reason: whyNot,
    doubt: null,
    candidates,
    decidedWith: behaviours.map(({ says }) => says).join("; "),
  };
}

/** Rounds with more pictures than the last run's configuration has samples, and how many they have. */
function earlierRounds({ previews }: JobFolder, drawn: DrawnSets): Map<number, number> {
  const earlier = new Map<number, number>();
  for (const { round, index, set } of previews) {
    const known = drawn[set].filled.length;
    if (index >= known) earlier.set(round, Math.max(index + 1, earlier.get(round) ?? 0));
  }
  return earlier;
}

/** By section, for both ways in which versions cached prompts. */
type DrawnSets = Record<Target["set"], Record<CachedPrompts, readonly Drawn[]>>;

function drawnOf(config: JobConfig): DrawnSets {
  const both = (section: SampleSection) => ({
    literal: trainerSamples(config, section, "literal"),
    filled: trainerSamples(config, section, "filled"),
  });
  return { sample: both(config.sample), first_sample: both(config.firstSample ?? config.sample) };
}

const fullPrecision = ["float", "fp32", "single", "float32"];

function expectedOf(
  { model, dtype }: JobConfig,
  lora: TrainedLora | null,
  rounding: Rounding | null,
): Expectation {
  const isFull = fullPrecision.includes(dtype);
  // Weights that are rounded as they were are all that a float32 job's quantisation changed.
  const isCopied = isFull && rounding !== null;
  if ((model.quantize || model.quantizeTextEncoder) && !isCopied) return "quantised";
  if (!isFull) return "bf16";
  return lora?.dtypes.every((one) => one === "F32") === false ? "rounded-lora" : "exact";
}
