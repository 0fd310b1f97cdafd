import { z } from "zod";
import { parseConfig } from "../weights/parse-config.ts";
import type { ConfigValue } from "./config-text.ts";

// What of a job's configuration decides how its previews look, with the trainer's defaults: its
// toolkit/config_modules.py, the same from 4e62c38d to 27a03a91 in all that is read here.

/** A setting as it stands in the file; whoever needs it says whether the trainer could use it. */
export type Setting = ConfigValue;

/** One entry of `samples`, with what it takes from its section. */
export interface SampleItem {
  readonly prompt: Setting;
  readonly negativePrompt: Setting;
  readonly width: Setting;
  readonly height: Setting;
  /** null: the section's. */
  readonly seed: Setting;
  readonly guidanceScale: Setting;
  readonly steps: Setting;
  readonly multiplier: Setting;
}

/** `sample`, or `first_sample`. */
export interface SampleSection {
  readonly seed: Setting;
  readonly walkSeed: boolean;
  /** Pictures are drawn at each step that is a multiple of it. */
  readonly every: Setting;
  readonly items: readonly SampleItem[];
}

interface ModelSettings {
  readonly nameOrPath: string | null;
  /** With its tag: `zimage:turbo`. */
  readonly arch: string | null;
  readonly quantize: boolean;
  readonly quantizeTextEncoder: boolean;
  /** Of the transformer; an accuracy recovery adapter follows a `|`. */
  readonly qtype: string;
  readonly qtypeTextEncoder: string;
  readonly layerOffloading: boolean;
  /** The training adapter, which the previews are drawn without. */
  readonly assistantLoraPath: string | null;
  /** It may stand behind a `|` in `qtype` too. */
  readonly accuracyRecoveryAdapter: string | null;
  /** Settings that change previews in ways that no LoRA file tells, by their names in the file. */
  readonly unknown: readonly string[];
}

export interface JobConfig {
  readonly name: string;
  /** Of the process: `diffusion_trainer` and its kin. */
  readonly type: string;
  readonly model: ModelSettings;
  readonly triggerWord: Setting;
  /** Prompts were encoded once, before training. */
  readonly cachesPrompts: boolean;
  /** What the trainer computed in. */
  readonly dtype: string;
  /** Of the LoRA files. */
  readonly saveDtype: string;
  /** All that the last run should make. */
  readonly steps: Setting;
  /** `lora`, `lokr`, …; null: the model itself was trained. */
  readonly network: { readonly type: string; readonly startsFromLora: boolean } | null;
  readonly sample: SampleSection;
  readonly firstSample: SampleSection | null;
  readonly skipsFirstSample: boolean;
}

const settings = z.record(z.string(), z.custom<Setting>());
type Settings = z.output<typeof settings>;

/** Python's `get_conf` takes null for nothing. */
const section = settings.nullish().transform((found) => found ?? {});

const list = z.array(settings).nullish();

const sampleSchema = z
  .looseObject({ samples: list, prompts: z.array(z.custom<Setting>()).nullish() })
  .transform(({ samples, prompts, ...own }) => sectionOf(samples, prompts, own as Settings));

const processSchema = z.looseObject({
  type: z.string(),
  trigger_word: z.custom<Setting>().optional(),
  network: settings.nullish(),
  model: section,
  train: section,
  save: section,
  datasets: list,
  sample: sampleSchema.nullish(),
  first_sample: sampleSchema.nullish(),
});

const configSchema = z.looseObject({
  config: z.looseObject({
    name: z.string().min(1),
    process: z.array(z.looseObject({ type: z.string() })).min(1),
  }),
});

const whatIsAsked = [
  "the configuration of an ai-toolkit job",
  ". Give the file that the trainer was started with.",
] as const;

/**
 * @param file for the message
 * @throws InputError naming what is missing or of the wrong kind
 */
export function readJobConfig(value: ConfigValue, file: string): JobConfig {
  const { name, process } = parseConfig(configSchema, value, file, ...whatIsAsked).config;
  // Jobs of several processes exist; the first that has a model is the one that trains.
  const trainer = process.find(({ model }) => model !== undefined) ?? process[0];
  const found = parseConfig(processSchema, trainer, file, ...whatIsAsked);
  const { model, train, save, network, datasets } = found;
  const cached = [train.cache_text_embeddings, train.unload_text_encoder];
  return {
    name,
    type: found.type,
    model: modelOf(model),
    triggerWord: found.trigger_word ?? null,
    cachesPrompts: [...cached, ...(datasets ?? []).map((set) => set.cache_text_embeddings)].some(
      isTrue,
    ),
    dtype: text(train.dtype) ?? "fp32",
    saveDtype: text(save.dtype) ?? "float16",
    steps: train.steps ?? null,
    network:
      network === null || network === undefined
        ? null
        : {
            type: (text(network.type) ?? "lora").toLowerCase(),
            startsFromLora: text(network.pretrained_lora_path) !== null,
          },
    sample: found.sample ?? sectionOf([], [], {}),
    firstSample: found.first_sample ?? null,
    skipsFirstSample: isTrue(train.skip_first_sample),
  };
}

/** Python's truth of a value. */
function isTrue(value: Setting | undefined): boolean {
  if (value === null || value === undefined) return false;
  if (typeof value === "object") return Object.keys(value).length > 0;
  return value !== false && value !== 0 && value !== 0n && value !== "";
}

function modelOf(model: Settings): ModelSettings {
  const quantize = isTrue(model.quantize);
  return {
    nameOrPath: text(model.name_or_path),
    arch: text(model.arch),
    quantize,
    quantizeTextEncoder: model.quantize_te === undefined ? quantize : isTrue(model.quantize_te),
    qtype: text(model.qtype) ?? "qfloat8",
    qtypeTextEncoder: text(model.qtype_te) ?? "qfloat8",
    layerOffloading: isTrue(model.layer_offloading ?? model.auto_memory),
    assistantLoraPath: text(model.assistant_lora_path),
    accuracyRecoveryAdapter: text(model.accuracy_recovery_adapter),
    unknown: ["inference_lora_path", "lora_path"].filter((key) => isTrue(model[key])),
  };
}

/** An entry's own setting counts where it has one, even if that is null. */
function sectionOf(
  samples: readonly Settings[] | null | undefined,
  prompts: readonly Setting[] | null | undefined,
  own: Settings,
): SampleSection {
  const of = (item: Settings, key: string, otherwise: Setting): Setting => {
    if (Object.hasOwn(item, key)) return item[key]!;
    return Object.hasOwn(own, key) ? own[key]! : otherwise;
  };
  const items = samples ?? (prompts ?? []).map((prompt) => ({ prompt }));
  return {
    seed: Object.hasOwn(own, "seed") ? own.seed! : 0,
    walkSeed: isTrue(own.walk_seed),
    every: Object.hasOwn(own, "sample_every") ? own.sample_every! : 100,
    items: items.map((item: Settings) => ({
      prompt: item.prompt ?? null,
      negativePrompt: of(item, "neg", false),
      width: of(item, "width", 512),
      height: of(item, "height", 512),
      seed: item.seed ?? null,
      guidanceScale: of(item, "guidance_scale", 7),
      steps: of(item, "sample_steps", 20),
      multiplier: of(item, "network_multiplier", 1),
    })),
  };
}

function text(value: Setting | undefined): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}
