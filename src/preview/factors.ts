import type { ProfileName } from "../job/request.ts";
import { profileNames } from "../job/request.ts";
import { eraOfVersion, isOlder } from "../models/eras.ts";
import { profiles } from "../models/profiles.ts";
import { models } from "../models/registry.ts";
import type { Edited, Hypothesis, Subject, Words } from "./hypothesis.ts";
import type { JobConfig } from "./job-config.ts";
import type { JobFolder } from "./job-folder.ts";
import type { PlanOptions } from "./plan.ts";
import { otherSamples, seeds } from "./sample-factors.ts";
import type { TrainedLora } from "./trained-loras.ts";

/** All that is tried for a picture, the likely before the rare, within a factor and between them. */
export function* hypothesesFor(
  job: JobFolder,
  options: PlanOptions,
  subject: Subject,
): Generator<Hypothesis> {
  const edited = (words: Words, edit: (config: JobConfig) => JobConfig): Hypothesis => ({
    flag: null,
    reach: "picture",
    ...words,
    job: { ...job, config: edit(job.config) },
    options,
  });
  yield* eras(job, options, ownEraOf(job, subject));
  yield* triggers(job, edited);
  yield* loras(job, options, subject);
  yield* quantisations(job, options);
  yield* seeds(job, subject, edited);
  yield* otherSamples(job, subject, edited);
  yield* baseModels(job, edited);
  yield edited(
    {
      factor: "dtype",
      value: "bf16",
      sentence: "the job computed in bf16, whose rounding is not repeated",
      reach: "job",
    },
    (config) => ({ ...config, dtype: "bf16" }),
  );
}

/** A version of each era, and of each way with cached prompts. */
const versionsTried = ["0.12.26", "0.10.25", "0.10.21", "0.10.20", "0.7.25", "0.7.6"] as const;

/** By the LoRA's header, whatever era was asked for. */
function ownEraOf({ loras }: JobFolder, { lora, profile }: Subject): ProfileName {
  const version = lora?.trainerVersion ?? loras.find((one) => one.trainerVersion)?.trainerVersion;
  if (version == null) return profile;
  const era = eraOfVersion(version);
  return "none" in era ? profile : era.profile.name;
}

/** Those nearest to its own first: of what comes to the same, the nearer one is likelier. */
function* eras(job: JobFolder, options: PlanOptions, own: ProfileName): Generator<Hypothesis> {
  const place = (name: ProfileName) => profileNames.indexOf(name);
  const distance = (version: (typeof versionsTried)[number]) =>
    Math.abs(place(eraOf(version)) - place(own));
  for (const version of versionsTried.toSorted((a, b) => distance(a) - distance(b))) {
    const profile = eraOf(version);
    const planned: Omit<Hypothesis, "factor" | "value" | "sentence"> = {
      flag: `--era ${version}`,
      reach: "round",
      job,
      options: { ...options, era: version },
    };
    const instead =
      options.era === undefined
        ? "its LoRA's version does"
        : `era ${options.era}, which was asked for, does`;
    // Within an era only what was done with cached prompts changed.
    if (profile === own && job.config.cachesPrompts) yield { ...cachedBy(version), ...planned };
    yield {
      factor: "era",
      value: profile,
      sentence: `it was drawn as ai-toolkit ${rangeOf(profile)} draws, not as ${instead}`,
      ...planned,
    };
  }
}

/** 479c72ad, in the course of 0.10.28. */
function cachedBy(version: string): Pick<Hypothesis, "factor" | "value" | "sentence"> {
  const isFilled = isOlder(version, "0.10.28") === false;
  return {
    factor: "trigger",
    value: isFilled ? "cached, filled in" : "cached, left out",
    sentence: isFilled
      ? "its prompt was encoded before training with the trigger word, as from 0.10.28 on"
      : "its prompt was encoded before training without the trigger word, as until 0.10.28",
  };
}

function eraOf(version: (typeof versionsTried)[number]): ProfileName {
  const names = { "0.12.26": "preview-0.10.25", "0.10.20": "preview-0.9.14" } as const;
  const name = Object.hasOwn(names, version)
    ? names[version as keyof typeof names]
    : `preview-${version}`;
  return profileNames.find((known) => known === name)!;
}

function rangeOf(profile: ProfileName): string {
  const { from, to } = profiles[profile].versions!;
  return to === null ? `from ${from} on` : `${from} to ${to}`;
}

/** Other trainers list every tag. */
const mostWords = 4;

function* triggers({ config, loras }: JobFolder, edited: Edited): Generator<Hypothesis> {
  const trigger = (value: string, sentence: string, change: Partial<JobConfig>) =>
    edited({ factor: "trigger", value, sentence, reach: "job" }, (before) => ({
      ...before,
      ...change,
    }));
  const words = new Set(loras.flatMap((lora) => lora.triggerWords));
  for (const word of [...words].slice(0, mostWords)) {
    yield trigger(word, `its trigger word was ${JSON.stringify(word)}, as its LoRA says`, {
      triggerWord: word,
    });
  }
  const cached = !config.cachesPrompts;
  yield trigger(
    cached ? "cached" : "not cached",
    cached
      ? "its prompt was encoded before training, without the trigger word"
      : "its prompt was not encoded before training",
    { cachesPrompts: cached },
  );
  if (config.triggerWord !== null) {
    yield trigger(
      "[trigger]",
      "its prompt kept [trigger] as it stands: the trainer knew no trigger word",
      {
        triggerWord: null,
      },
    );
  }
  yield trigger("", "its trigger word was empty", { triggerWord: "" });
}

/** The nearest steps; a job that kept each of thousands has too many to draw. */
const mostLoras = 50;

function* loras(
  job: JobFolder,
  options: PlanOptions,
  { step, lora }: Subject,
): Generator<Hypothesis> {
  const distance = (other: TrainedLora) => Math.abs((other.step ?? 0) - step);
  const others = job.loras
    .filter((other) => other.unusable === null && other.path !== lora?.path)
    .toSorted((a, b) => distance(a) - distance(b))
    .slice(0, mostLoras);
  for (const { path, file, step: ofStep, dtypes } of others) {
    yield {
      factor: "lora",
      value: file,
      sentence: `it was drawn with ${file}, the LoRA of step ${ofStep}`,
      flag: null,
      reach: "round",
      // What its own header says stays: another version would change more than the LoRA.
      job: {
        ...job,
        loras: job.loras.map((own) => (own.path === lora?.path ? { ...own, path, dtypes } : own)),
      },
      options,
    };
  }
}

function* quantisations(job: JobFolder, options: PlanOptions): Generator<Hypothesis> {
  const { config } = job;
  const { model } = config;
  const said = (
    value: string,
    sentence: string,
    change: Partial<JobConfig["model"]>,
    asTrained = true,
  ): Hypothesis => ({
    factor: "quantisation",
    value,
    sentence,
    flag: asTrained ? null : "--no-as-trained",
    reach: "job",
    job: { ...job, config: { ...config, model: { ...model, ...change } } },
    options: { ...options, asTrained },
  });
  const types = { qtype: "qfloat8", qtypeTextEncoder: "qfloat8" };
  const both = { quantize: true, quantizeTextEncoder: true, ...types };
  yield said("none", "its weights were not rounded", {}, false);
  yield said("qfloat8", "its transformer and text encoder were rounded to qfloat8", both);
  const parts = [
    ["transformer", { ...both, quantizeTextEncoder: false }],
    ["text encoder", { ...both, quantize: false }],
  ] as const;
  for (const [part, change] of parts)
    yield said(`qfloat8, ${part} only`, `its ${part} alone was rounded to qfloat8`, change);
  const float8 = { ...both, qtype: "float8", qtypeTextEncoder: "float8" };
  yield said("float8", "its transformer and text encoder were rounded to float8", float8);
  yield model.assistantLoraPath === null
    ? said(
        "float8 beside the training adapter",
        "its weights were rounded beside the training adapter",
        { ...both, assistantLoraPath: usualAdapter },
      )
    : said(
        "qfloat8 without the training adapter",
        "its weights were rounded without the training adapter",
        { ...both, assistantLoraPath: null },
      );
}

/** The trainer's default for Turbo since 0.7.7. */
const usualAdapter =
  "ostris/zimage_turbo_training_adapter/zimage_turbo_training_adapter_v2.safetensors";

function* baseModels({ config }: JobFolder, edited: Edited): Generator<Hypothesis> {
  for (const { id, transformerRepository } of models) {
    if (transformerRepository === config.model.nameOrPath) continue;
    yield edited(
      {
        factor: "model",
        value: id,
        sentence: `it was drawn with ${id} (${transformerRepository})`,
        reach: "job",
      },
      (before) => ({
        ...before,
        model: { ...before.model, nameOrPath: transformerRepository, arch: "zimage" },
      }),
    );
  }
}
