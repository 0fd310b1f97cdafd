import { InputError, listed } from "../errors.ts";
import type { GenerateInput, ProfileName } from "../job/request.ts";
import type { BaseModel } from "./base-model.ts";
import { baseModelOf } from "./base-model.ts";
import type { Behaviour } from "./behaviour.ts";
import { behavioursAsked, behavioursOf } from "./behaviour.ts";
import type { JobConfig, SampleSection } from "./job-config.ts";
import type { JobFolder } from "./job-folder.ts";
import type { PreviewFile } from "./preview-files.ts";
import { requestOf } from "./request-of.ts";
import type { RoundEra } from "./runs.ts";
import { erasOfRounds, loraOfStep } from "./runs.ts";
import type { CachedPrompts, Drawn, TrainerSample } from "./samples.ts";
import { trainerSamples } from "./samples.ts";
import type { TrainedLora } from "./trained-loras.ts";
import { whyNot } from "./why-not.ts";

/** How the weights were rounded. */
interface Rounding {
  readonly transformer: "quanto" | "torchao" | null;
  readonly textEncoder: "quanto" | "torchao" | null;
  readonly embedders: boolean;
  readonly adapter: string | null;
}

/** How near a retake can come to its preview: what explains the rest. */
type Expected = "exact" | "rounded-lora" | "bf16" | "quantised";

/** One way in which a picture may have been drawn. */
export interface Reading {
  readonly profile: ProfileName;
  readonly rounding: Rounding | null;
  readonly request: GenerateInput;
  /** In words, to tell it from the others. */
  readonly says: string;
}

/** A preview and how it is taken again. */
export interface PlannedSample {
  /** null where a LoRA's pictures are asked for and the trainer's own are not there. */
  readonly preview: PreviewFile | null;
  readonly step: number;
  readonly index: number;
  readonly set: PreviewFile["set"];
  readonly model: string;
  readonly profile: ProfileName;
  /** Follows "because". */
  readonly profileReason: string;
  readonly rounding: Rounding | null;
  readonly roundingReason: string;
  readonly lora: TrainedLora | null;
  /** null where it can't be reproduced. */
  readonly request: GenerateInput | null;
  readonly expected: Expected;
  /** Why it can't be reproduced; null where it can. */
  readonly reason: string | null;
  /** All ways in which it may have been drawn, the planned one first; trying decides where there are several. */
  readonly candidates: readonly Reading[];
  /** Samples of one name have the same ways in the same order: what is found for one counts for all. */
  readonly decidedWith: string;
}

export interface Plan {
  readonly job: JobFolder;
  readonly model: BaseModel;
  readonly samples: readonly PlannedSample[];
}

export interface PlanOptions {
  /** A profile of an era or a version of the trainer, in place of what the files say. */
  readonly era?: string;
  /** Rounds the weights as the trainer did, where it quantised; true if left out. */
  readonly asTrained?: boolean;
  /** Only these steps, and only these samples, counted from 0. */
  readonly steps?: readonly number[];
  readonly samples?: readonly number[];
}

/**
 * Says for every preview of a job how it is taken again, or why it can't be. Nothing is read.
 *
 * @throws InputError for a model that is not of the Z-Image family, or a step or sample that is not there
 */
export function planRetakes(job: JobFolder, options: PlanOptions = {}): Plan {
  const model = baseModelOf(job.config);
  const eras = erasOfRounds(job);
  const drawn = drawnOf(job.config);
  const samples = wanted(job, options).map((target): PlannedSample => {
    const era = eraOf(job, target, eras, options);
    const lora = target.step === 0 ? null : loraOfStep(job, target.step);
    const ways = era.behaviours.map((behaviour) => {
      const round = drawn[target.set][behaviour.cachedPrompts];
      return { behaviour, round, sample: round[target.index] };
    });
    const reason = ways
      .map(({ round, sample }) => whyNot(job, target, lora, round, sample))
      .find((why) => why !== null);
    const candidates =
      reason === undefined
        ? ways.map(({ behaviour, sample }) => readingOf(behaviour, sample as TrainerSample, lora))
        : [];
    const [first] = candidates;
    const [behaviour] = era.behaviours;
    return {
      ...target,
      model: model.id,
      profile: behaviour!.profile,
      profileReason: era.reason,
      rounding: first?.rounding ?? null,
      roundingReason: "",
      lora,
      request: first?.request ?? null,
      expected: expectedOf(job.config, lora),
      reason: reason ?? null,
      candidates,
      decidedWith: era.behaviours
        .map(({ profile, cachedPrompts }) => profile + cachedPrompts)
        .join(),
    };
  });
  return { job, model, samples };
}

type Target = Pick<PlannedSample, "preview" | "step" | "index" | "set">;

/** What is asked for of the job's pictures. */
function wanted(job: JobFolder, { steps, samples }: PlanOptions): Target[] {
  const all = targetsOf(job);
  requireThere(
    "--step",
    steps,
    all.map(({ step }) => step),
  );
  requireThere(
    "--sample",
    samples,
    all.map(({ index }) => index),
  );
  return all.filter(
    ({ step, index }) => (steps?.includes(step) ?? true) && (samples?.includes(index) ?? true),
  );
}

function targetsOf({ previews, only, loras, config }: JobFolder): Target[] {
  const all = previews.map((preview) => {
    const { step, index, set } = preview;
    return { preview, step, index, set };
  });
  if (only === null) return all;
  if ("preview" in only) {
    const one = all.filter(({ preview }) => preview.file === only.preview);
    if (one.length > 0) return one;
    throw new InputError(
      `${only.preview} does not have the name of a preview: time__step_sample.jpg, as the trainer names them.`,
    );
  }
  const step = loras.find(({ file }) => file === only.lora)?.step ?? null;
  if (step === null) {
    throw new InputError(
      `${only.lora} does not say in its header at which step it was saved: name a LoRA as the trainer saved it.`,
    );
  }
  const ofStep = all.filter((target) => target.step === step);
  if (ofStep.length > 0) return ofStep;
  const prompts = config.sample.items.filter(({ prompt }) => prompt !== null);
  return prompts.map((_, index) => ({ preview: null, step, index, set: "sample" as const }));
}

function requireThere(
  flag: string,
  asked: readonly number[] | undefined,
  there: readonly number[],
): void {
  const missing = asked?.filter((one) => !there.includes(one)) ?? [];
  if (missing.length === 0) return;
  const known = [...new Set(there)].toSorted((a, b) => a - b).map(String);
  throw new InputError(
    `${flag} ${missing.join(", ")}: the job has no previews of it. There are ${listed(known)}.`,
  );
}

function eraOf(
  { config, loras, only }: JobFolder,
  { preview, step }: Target,
  eras: readonly RoundEra[],
  { era: asked }: PlanOptions,
): { readonly behaviours: readonly Behaviour[]; readonly reason: string } {
  const { cachesPrompts } = config;
  if (asked !== undefined) {
    return { behaviours: behavioursAsked(asked, cachesPrompts), reason: `--era ${asked} says so` };
  }
  const own = only !== null && "lora" in only ? loras.find(({ file }) => file === only.lora) : null;
  const era: RoundEra =
    preview === null
      ? { versions: [own?.trainerVersion ?? null], reason: `${own?.file} says so` }
      : eras[preview.round]!;
  const known = era.versions.map((version) => behavioursOf(version, cachesPrompts));
  const behaviours = distinct(known.flatMap((found) => ("none" in found ? [] : found)));
  if (behaviours.length > 0) return { behaviours, reason: era.reason };
  const why = known.flatMap((found) => ("none" in found ? [found.none] : []));
  const any = behavioursOf(null, cachesPrompts) as readonly Behaviour[]; // any version has some
  return { behaviours: any, reason: `${era.reason}, but ${why.join(", ")}; step ${step}` };
}

function distinct(behaviours: readonly Behaviour[]): Behaviour[] {
  const key = ({ profile, cachedPrompts }: Behaviour) => profile + cachedPrompts;
  return [...new Map(behaviours.map((one) => [key(one), one])).values()];
}

/** Of both sections, for both ways in which versions cached prompts. */
function drawnOf(
  config: JobConfig,
): Record<PreviewFile["set"], Record<CachedPrompts, readonly Drawn[]>> {
  const both = (section: SampleSection) => ({
    literal: trainerSamples(config, section, "literal"),
    filled: trainerSamples(config, section, "filled"),
  });
  return { sample: both(config.sample), first_sample: both(config.firstSample ?? config.sample) };
}

function readingOf(
  { profile, says }: Behaviour,
  sample: TrainerSample,
  lora: TrainedLora | null,
): Reading {
  return { profile, says, rounding: null, request: requestOf(sample, lora, profile) };
}

const fullPrecision = ["float", "fp32", "single", "float32"];

function expectedOf({ model, dtype }: JobConfig, lora: TrainedLora | null): Expected {
  if (model.quantize || model.quantizeTextEncoder) return "quantised";
  if (!fullPrecision.includes(dtype)) return "bf16";
  return lora?.dtypes.every((one) => one === "F32") === false ? "rounded-lora" : "exact";
}
