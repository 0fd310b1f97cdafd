import { InputError } from "../errors.ts";
import { largestSeed } from "../job/seed.ts";
import { writeJson } from "../wire/python-json.ts";
import type { JobConfig, SampleItem, SampleSection, Setting } from "./job-config.ts";
import type { PromptFlags } from "./prompt-flags.ts";
import { parsePromptFlags } from "./prompt-flags.ts";
import { pythonFloat, pythonInt } from "./python-text.ts";

/** What a version of the trainer did with the prompts that it encoded before training. */
export type CachedPrompts = "literal" | "filled";

/** What the trainer handed to its pipeline, before it floored the size to its era's multiples. */
export interface TrainerSample {
  readonly prompt: string;
  readonly negativePrompt: string;
  /** In pixels: a multiple of 8, 64 at least. */
  readonly width: number;
  readonly height: number;
  readonly steps: number;
  readonly guidanceScale: number;
  /** `random`: drawn anew for each picture, and nowhere written down. */
  readonly seed: bigint | "random";
  readonly multiplier: number;
}

/** What the trainer drew, or why it could not have. */
export type Drawn = TrainerSample | { readonly fault: string };

/**
 * What the trainer drew for each entry of a section: `BaseSDTrainProcess.sample` with
 * `GenerateImageConfig`, and `SDTrainer.cache_sample_prompts`.
 *
 * @param cachedPrompts counts where the job caches its prompts: until 479c72ad (0.10.28) without the trigger word
 */
export function trainerSamples(
  config: JobConfig,
  section: SampleSection,
  cachedPrompts: CachedPrompts,
): Drawn[] {
  const prompts = promptsOf(section);
  const cached = promptsOf(config.sample);
  let seed = section.seed;
  return prompts.map((prompt, index) => {
    // As the trainer counts: prompts that are null are left out of one list and not of the other.
    const item = section.items[index]!;
    if (section.walkSeed) seed = walked(section.seed, index);
    // With walk_seed off, a sample's own seed goes on to later ones that have none.
    if (item.seed !== null) seed = item.seed;
    const isCached = config.cachesPrompts && config.sample.items.length > 0;
    const encoded = isCached ? { prompt: cached[index], item: config.sample.items[index] } : null;
    return orFault(() => {
      const flags = parsePromptFlags(withTrigger(config, prompt));
      const texts =
        encoded === null
          ? textsOf(flags, item)
          : cachedTextsOf(config, encoded.prompt, encoded.item, cachedPrompts);
      return { ...texts, ...numbersOf(flags, item, seed) };
    });
  });
}

/** Whether the trainer merged its network into the weights to draw a round, and out again after it. */
export function isMerged({ model, network }: JobConfig, drawn: readonly Drawn[]): boolean {
  // Weights that are rounded, or elsewhere, can't be added to; DoRA is no sum.
  if (model.quantize || model.layerOffloading) return false;
  if (network === null || ["dora", "lorm"].includes(network.type)) return false;
  return sharedMultiplier(drawn) !== null;
}

/** The multiplier that all pictures of a round share; null where they differ. */
function sharedMultiplier(drawn: readonly Drawn[]): number | null {
  const multipliers = new Set(drawn.map((one) => ("fault" in one ? null : one.multiplier)));
  const [only] = multipliers;
  return multipliers.size === 1 ? only! : null;
}

function orFault(draw: () => TrainerSample): Drawn {
  try {
    return draw();
  } catch (error) {
    if (error instanceof InputError) return { fault: error.message };
    throw error;
  }
}

function promptsOf(section: SampleSection): Setting[] {
  return section.items.map(({ prompt }) => prompt).filter((prompt) => prompt !== null);
}

function walked(seed: Setting, index: number): Setting {
  if (typeof seed === "bigint") return seed + BigInt(index);
  // A text and a number can't be added: whoever reads the seed says so.
  if (typeof seed !== "number") return null;
  const sum = seed + index;
  return Number.isSafeInteger(sum) || !Number.isSafeInteger(seed)
    ? sum
    : BigInt(seed) + BigInt(index);
}

function withTrigger({ triggerWord }: JobConfig, prompt: Setting): string {
  if (typeof prompt !== "string")
    throw new InputError(`its prompt ${writeJson(prompt)} is no text`);
  if (triggerWord === null) return prompt;
  if (typeof triggerWord !== "string") throw new InputError("trigger_word is no text");
  // [name] is the trigger word too where nothing else took its place: inject_trigger_into_prompt.
  return prompt.replaceAll("[name]", () => triggerWord).replaceAll("[trigger]", () => triggerWord);
}

type Texts = Pick<TrainerSample, "prompt" | "negativePrompt">;

function textsOf({ prompt, negativePrompt }: PromptFlags, item: SampleItem): Texts {
  return { prompt, negativePrompt: negativePrompt ?? negativeOf(item.negativePrompt) };
}

/** Cached texts are those of `sample` at the picture's index, whatever section the picture is of. */
function cachedTextsOf(
  config: JobConfig,
  prompt: Setting | undefined,
  item: SampleItem | undefined,
  cachedPrompts: CachedPrompts,
): Texts {
  if (prompt === undefined || item === undefined) {
    throw new InputError("the trainer had cached fewer prompts than first_sample has");
  }
  const none = { ...config, triggerWord: null };
  return textsOf(
    parsePromptFlags(withTrigger(cachedPrompts === "filled" ? config : none, prompt)),
    item,
  );
}

function numbersOf(
  flags: PromptFlags,
  item: SampleItem,
  seed: Setting,
): Omit<TrainerSample, keyof Texts> {
  const drawn = flags.seed ?? seedOf(seed);
  return {
    width: snapped(flags.width ?? item.width, "width"),
    height: snapped(flags.height ?? item.height, "height"),
    steps: Number(flags.steps ?? wholeNumber(item.steps, "sample_steps")),
    guidanceScale: flags.guidanceScale ?? number(item.guidanceScale, "guidance_scale"),
    seed: drawn === "random" ? drawn : generatorSeed(drawn),
    multiplier: flags.multiplier ?? multiplierOf(item.multiplier),
  };
}

/** Not given, it is False; the tokenizer's template takes what is no text for an empty one. */
function negativeOf(neg: Setting): string {
  return typeof neg === "string" ? neg : "";
}

/** Only the number -1 is drawn; the text "-1" is a seed, and so is a flag's -1. */
function seedOf(seed: Setting): bigint | "random" {
  if (seed === -1) return "random";
  if (typeof seed === "string") return pythonInt(seed);
  if (typeof seed === "number" && Number.isFinite(seed)) return BigInt(Math.trunc(seed));
  return wholeNumber(seed, "seed");
}

/** `torch.manual_seed`: what is below zero counts from 2^64 down. */
function generatorSeed(seed: bigint): bigint {
  const counted = seed < 0n ? seed + largestSeed + 1n : seed;
  if (seed < -(2n ** 63n) || counted > largestSeed) {
    throw new InputError(`seed ${seed} is beyond what the trainer takes`);
  }
  return counted;
}

function snapped(size: Setting, name: string): number {
  // Beyond 2^53 it is no size either way. A fraction goes with the remainder.
  const pixels = number(typeof size === "bigint" ? Number(size) : size, name);
  return Math.max(64, Math.floor(pixels / 8) * 8);
}

function multiplierOf(multiplier: Setting): number {
  if (typeof multiplier !== "string") return number(multiplier, "network_multiplier");
  try {
    return pythonFloat(multiplier);
  } catch {
    // The trainer says so and takes 1.
    return 1;
  }
}

function number(value: Setting, name: string): number {
  if (typeof value === "number") return value;
  throw new InputError(`${name} ${writeJson(value)} is no number`);
}

function wholeNumber(value: Setting, name: string): bigint {
  if (typeof value === "bigint") return value;
  if (typeof value === "number" && Number.isInteger(value)) return BigInt(value);
  throw new InputError(`${name} ${writeJson(value)} is no whole number`);
}
