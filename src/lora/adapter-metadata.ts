import { z } from "zod";
import { InputError, messageOf } from "../errors.ts";
import { findDuplicateKey } from "../weights/duplicate-keys.ts";

/** Settings of PEFT's LoraConfig under which A and B mean something else than two matrices. */
const off = z.literal(false).nullish();

/** The part of PEFT's LoraConfig that says how A and B act; defaults are PEFT's (0.21.2). */
const schema = z.object({
  r: z.number().int().positive().default(8),
  lora_alpha: z.number().default(8),
  /** By module name, or the end of one after a dot. */
  rank_pattern: z.record(z.string(), z.number().int().positive()).default({}),
  alpha_pattern: z.record(z.string(), z.number()).default({}),
  use_rslora: z.boolean().nullish(),
  use_dora: off,
  lora_bias: off,
});

/** diffusers puts this before the settings that concern the transformer. */
const prefix = "transformer.";

/** A module's rank and the scale of its product, as a configuration says them. */
interface ModuleSettings {
  readonly rank: number;
  readonly scale: number;
}

/**
 * Reads `lora_adapter_metadata`, the LoraConfig that diffusers stores in a
 * header and obeys in place of what the tensors say.
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
  const config = parseConfig(text, file);
  const ranks = patterns(config.rank_pattern, file);
  const alphas = patterns(config.alpha_pattern, file);
  return (module) => {
    const rank = find(ranks, module) ?? config.r;
    const alpha = find(alphas, module) ?? config.lora_alpha;
    return { rank, scale: alpha / (config.use_rslora ? Math.sqrt(rank) : rank) };
  };
}

function parseConfig(text: string, file: string): z.infer<typeof schema> {
  let json: unknown;
  try {
    json = JSON.parse(text);
    const duplicate = findDuplicateKey(text);
    if (duplicate !== undefined) throw new Error(`it has the key "${duplicate}" twice`);
  } catch (error) {
    throw refused(file, messageOf(error), error);
  }
  const entries = z.record(z.string(), z.unknown()).safeParse(json);
  if (!entries.success) throw refused(file, "it is not an object");
  const own = Object.entries(entries.data).filter(([key]) => key.startsWith(prefix));
  if (own.length === 0) throw refused(file, `it has no setting that starts with "${prefix}"`);
  const result = schema.safeParse(
    Object.fromEntries(own.map(([key, value]) => [key.slice(prefix.length), value])),
  );
  if (!result.success) throw refused(file, z.prettifyError(result.error), result.error);
  return result.data;
}

/**
 * PEFT takes a pattern for a regular expression, `(.*\.)?(pattern)$`. Trainers
 * write names of modules, some after a ^; only those are taken here.
 */
function patterns(record: Readonly<Record<string, number>>, file: string): [string, number][] {
  for (const pattern of Object.keys(record)) {
    if (!/^\^?[\w.]+$/.test(pattern)) {
      throw refused(file, `its pattern "${pattern}" is not the name of a module`);
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

function refused(file: string, what: string, cause?: unknown): InputError {
  return new InputError(
    `${file} has a lora_adapter_metadata in its header that can't be obeyed: ${what}. ` +
      "Save the LoRA without it, or in ai-toolkit's format.",
    { cause },
  );
}
