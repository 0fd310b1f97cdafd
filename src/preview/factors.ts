import type { ProfileName } from "../job/request.ts";
import { profileNames } from "../job/request.ts";
import { profiles } from "../models/profiles.ts";
import { models } from "../models/registry.ts";
import type { JobConfig, SampleItem, SampleSection } from "./job-config.ts";
import type { JobFolder } from "./job-folder.ts";
import type { PlanOptions } from "./plan.ts";
import type { TrainedLora } from "./trained-loras.ts";

/** What may have been otherwise than the job's files say, for all of the job or a part of it. */
export interface Hypothesis {
  readonly factor: string;
  readonly value: string;
  readonly sentence: string;
  readonly flag: string | null;
  /** How far it reaches: pictures within it that are right already speak against it. */
  readonly reach: "job" | "round" | "picture";
  /** The job as it would have been. */
  readonly job: JobFolder;
  readonly options: PlanOptions;
}

/** The picture that is asked about. */
export interface Subject {
  readonly index: number;
  readonly step: number;
  readonly set: "first_sample" | "sample";
  readonly lora: TrainedLora | null;
  readonly profile: ProfileName;
}

type Words = Pick<Hypothesis, "factor" | "value" | "sentence"> & {
  readonly flag?: string;
  readonly reach?: Hypothesis["reach"];
};

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
  yield* eras(job, options, subject.profile);
  yield* triggers(job, edited);
  yield* loras(job, options, subject);
  yield* quantisations(job, options);
  yield* seeds(job, subject, edited);
  yield* otherSamples(job, subject, edited);
  yield* baseModels(job, edited);
}

type Edited = (words: Words, edit: (config: JobConfig) => JobConfig) => Hypothesis;

/** A version of each era, and of each way with cached prompts. */
const versionsTried = ["0.12.26", "0.10.25", "0.10.21", "0.10.20", "0.7.25", "0.7.6"] as const;

/** Those nearest to the planned era first: of what comes to the same, the nearer one is likelier. */
function* eras(job: JobFolder, options: PlanOptions, planned: ProfileName): Generator<Hypothesis> {
  const place = (name: ProfileName) => profileNames.indexOf(name);
  const distance = (version: (typeof versionsTried)[number]) =>
    Math.abs(place(eraOf(version)) - place(planned));
  for (const version of versionsTried.toSorted((a, b) => distance(a) - distance(b))) {
    const profile = eraOf(version);
    yield {
      factor: "era",
      value: profile,
      sentence: `it was drawn as ai-toolkit ${rangeOf(profile)} draws, not as its LoRA's version does`,
      flag: `--era ${version}`,
      reach: "round",
      job,
      options: { ...options, era: version },
    };
  }
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
  if (config.triggerWord !== null) {
    yield trigger(
      "[trigger]",
      "its prompt kept [trigger] as it stands: the trainer knew no trigger word",
      {
        triggerWord: null,
      },
    );
  }
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
  yield trigger("", "its trigger word was empty", { triggerWord: "" });
}

function* loras(
  job: JobFolder,
  options: PlanOptions,
  { step, lora }: Subject,
): Generator<Hypothesis> {
  const distance = (other: TrainedLora) => Math.abs((other.step ?? 0) - step);
  const others = job.loras
    .filter((other) => other.unusable === null && other.path !== lora?.path)
    .toSorted((a, b) => distance(a) - distance(b));
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
  const both = { quantize: true, quantizeTextEncoder: true };
  yield said("none", "its weights were not rounded", {}, false);
  yield said("qfloat8", "its transformer and text encoder were rounded to qfloat8", both);
  const parts = [
    ["transformer", { quantize: true, quantizeTextEncoder: false }],
    ["text encoder", { quantize: false, quantizeTextEncoder: true }],
  ] as const;
  for (const [part, change] of parts)
    yield said(`qfloat8, ${part} only`, `its ${part} alone was rounded to qfloat8`, change);
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

/** Seeds that people and programs take. */
const usualSeeds = [42, 0, 1, 123, 1234, 12345, 1337, 2024, 2025, 2026, 7, 2, 3, 4, 5, 6, 8, 9, 10];

function* seeds({ config }: JobFolder, { set }: Subject, edited: Edited): Generator<Hypothesis> {
  const key = set === "sample" ? "sample" : "firstSample";
  const section = config[key] ?? config.sample;
  const change = (words: Words, edit: (before: SampleSection) => SampleSection) =>
    edited({ reach: "job", ...words }, (before) => ({
      ...before,
      [key]: edit(before[key] ?? before.sample),
    }));
  const walk = !section.walkSeed;
  yield change(
    {
      factor: "walk_seed",
      value: String(walk),
      sentence: walk
        ? "its seed was the job's plus its index: walk_seed was on"
        : "its seed was the job's: walk_seed was off",
    },
    (before) => ({ ...before, walkSeed: walk }),
  );
  const withoutOwn = (items: readonly SampleItem[]) =>
    items.map((item) => ({ ...item, seed: null }));
  if (section.items.some(({ seed }) => seed !== null)) {
    yield change(
      {
        factor: "seed_leak",
        value: "none",
        sentence: "no sample's own seed was used, its own or an earlier one's",
      },
      (before) => ({ ...before, items: withoutOwn(before.items) }),
    );
  }
  const base = typeof section.seed === "number" ? section.seed : 42;
  const tried = new Set([base - 1, base + 1, ...usualSeeds, base + 2, base - 2]);
  for (const seed of tried) {
    if (seed < 0 || seed === section.seed) continue;
    yield change(
      { factor: "seed", value: String(seed), sentence: `the job's seed was ${seed}` },
      (before) => ({ ...before, seed }),
    );
  }
}

function* otherSamples(
  { config }: JobFolder,
  { index, set }: Subject,
  edited: Edited,
): Generator<Hypothesis> {
  const key = set === "sample" ? "sample" : "firstSample";
  const section = config[key] ?? config.sample;
  const change = (
    words: Words,
    at: (items: readonly SampleItem[], own: SampleItem) => SampleItem,
  ) =>
    edited(words, (before) => {
      const items = (before[key] ?? before.sample).items;
      return {
        ...before,
        [key]: {
          ...(before[key] ?? before.sample),
          items: items.map((item, i) => (i === index ? at(items, item) : item)),
        },
      };
    });
  for (const [other, { prompt }] of section.items.entries()) {
    if (other === index || prompt === null) continue;
    const named = `sample ${other + 1}`;
    yield change(
      {
        factor: "prompt",
        value: named,
        sentence: `it shows the prompt of ${named}, not of ${index + 1}`,
      },
      (_, own) => ({ ...own, prompt }),
    );
    yield change(
      { factor: "sample", value: named, sentence: `it was drawn by ${named} of the configuration` },
      (items) => items[other]!,
    );
  }
  const section2 = set === "sample" ? config.firstSample : config.sample;
  if (section2 !== null) {
    yield edited(
      {
        factor: "first_sample",
        value: set === "sample" ? "first_sample" : "sample",
        sentence: `it was drawn by the configuration's ${set === "sample" ? "first_sample" : "sample"}`,
      },
      (before) => ({ ...before, [key]: section2 }),
    );
  }
}

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
