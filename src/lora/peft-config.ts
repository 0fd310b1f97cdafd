import { readFile } from "node:fs/promises";
import { z } from "zod";
import { InputError, messageOf } from "../errors.ts";
import { findDuplicateKey } from "../weights/duplicate-keys.ts";

/** The part of PEFT's configurations that says how an adapter acts; defaults are PEFT's (0.21.2). */
const schema = z.object({
  peft_type: z.enum(["LORA", "LOKR", "LOHA"]).nullish(),
  r: z.number().int().positive().default(8),
  lora_alpha: z.number().nullish(),
  /** LoKr's and LoHa's name of lora_alpha. */
  alpha: z.number().nullish(),
  /** By module name, or the end of one after a dot. */
  rank_pattern: z.record(z.string(), z.number().int().positive()).default({}),
  alpha_pattern: z.record(z.string(), z.number()).default({}),
  use_rslora: z.boolean().nullish(),
  use_dora: z.boolean().nullish(),
  lora_bias: z.boolean().nullish(),
  fan_in_fan_out: z.literal(false).nullish(),
});

/** diffusers puts this before the settings that concern the transformer. */
const prefix = "transformer.";

const defaultAlpha = 8;

/** A module's rank and the scale of its product, as a configuration says them. */
export interface ModuleSettings {
  readonly rank: number;
  readonly scale: number;
  /** Whether the configuration promises a magnitude for each module. */
  readonly dora: boolean;
}

/** Where a configuration stands, for messages. */
interface ConfigSource {
  readonly file: string;
  /** e.g. "a lora_adapter_metadata in its header". */
  readonly what: string;
}

/**
 * Reads `lora_adapter_metadata`, the LoraConfig that diffusers stores in a
 * header and obeys in source of what the tensors say.
 * Source: diffusers 0.42.1 `load_lora_adapter`, PEFT 0.21.2 `LoraLayer.update_layer`.
 *
 * @returns a module's settings by its name; undefined if the header has no configuration
 * @throws InputError naming the file and the setting that can't be obeyed
 */
export function readAdapterMetadata(
  metadata: Readonly<Record<string, string>>,
  file: string,
): ((module: string) => ModuleSettings) | undefined {
  const text = metadata.lora_adapter_metadata;
  // diffusers takes an empty entry for none.
  if (!text) return undefined;
  const source = { file, what: "a lora_adapter_metadata in its header" };
  const own = Object.entries(parseObject(text, source)).filter(([key]) => key.startsWith(prefix));
  if (own.length === 0) throw refused(source, `it has no setting that starts with "${prefix}"`);
  return settingsOf(
    Object.fromEntries(own.map(([key, value]) => [key.slice(prefix.length), value])),
    source,
  );
}

/** Far above a real one. */
const largestConfig = 10_000_000;

/**
 * Reads the `adapter_config.json` that PEFT saves beside an adapter.
 *
 * @throws InputError naming the file and the setting that can't be obeyed
 */
export async function readAdapterConfig(file: string): Promise<(module: string) => ModuleSettings> {
  const source = { file, what: "a configuration" };
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    throw new InputError(`${file} can't be read: ${messageOf(error)}.`, { cause: error });
  }
  if (text.length > largestConfig) throw refused(source, `it has ${text.length} characters`);
  return settingsOf(parseObject(text, source), source);
}

function parseObject(text: string, source: ConfigSource): Record<string, unknown> {
  let json: unknown;
  try {
    json = JSON.parse(text);
    const duplicate = findDuplicateKey(text);
    if (duplicate !== undefined) throw new Error(`it has the key "${duplicate}" twice`);
  } catch (error) {
    throw refused(source, messageOf(error), error);
  }
  const entries = z.record(z.string(), z.unknown()).safeParse(json);
  if (!entries.success) throw refused(source, "it is not an object");
  return entries.data;
}

function settingsOf(own: object, source: ConfigSource): (module: string) => ModuleSettings {
  const result = schema.safeParse(own);
  if (!result.success) throw refused(source, z.prettifyError(result.error), result.error);
  const config = result.data;
  const ranks = patterns(config.rank_pattern, source);
  const alphas = patterns(config.alpha_pattern, source);
  return (module) => {
    const rank = find(ranks, module) ?? config.r;
    const alpha = find(alphas, module) ?? config.lora_alpha ?? config.alpha ?? defaultAlpha;
    return {
      rank,
      scale: alpha / (config.use_rslora ? Math.sqrt(rank) : rank),
      dora: config.use_dora ?? false,
    };
  };
}

/**
 * PEFT takes a pattern for a regular expression, `(.*\.)?(pattern)$`. Trainers
 * write names of modules, some after a ^; only those are taken here.
 */
function patterns(
  record: Readonly<Record<string, number>>,
  source: ConfigSource,
): [string, number][] {
  for (const pattern of Object.keys(record)) {
    if (!/^\^?[\w.-]+$/.test(pattern)) {
      throw refused(source, `its pattern "${pattern}" is not the name of a module`);
    }
  }
  return Object.entries(record);
}

/** The value of the first pattern that fits, as in PEFT. */
function find(patterns: readonly (readonly [string, number])[], module: string) {
  return patterns.find(([pattern]) =>
    pattern.startsWith("^")
      ? module === pattern.slice(1)
      : module === pattern || module.endsWith(`.${pattern}`),
  )?.[1];
}

function refused({ file, what }: ConfigSource, why: string, cause?: unknown): InputError {
  return new InputError(
    `${file} has ${what} that can't be obeyed: ${why}. ` +
      "Save the LoRA without it, or in ai-toolkit's format.",
    { cause },
  );
}
