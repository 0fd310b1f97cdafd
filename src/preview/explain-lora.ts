import { InputError } from "../errors.ts";
import type { LoraFile } from "../lora/file.ts";
import { readLora } from "../lora/file.ts";
import { networkOf } from "../lora/format.ts";
import { matchLora } from "../lora/match.ts";
import { redactUrl } from "../net/redact.ts";
import type { AdaptableModule } from "../transformer/weight-shapes.ts";
import type { Explanation } from "../wire/explain-answers.ts";

/** A LoRA of a request, and its file on this machine or why there is none. */
export interface NamedLora {
  readonly name: string;
  readonly file: string | { readonly missing: string };
}

export interface LookedAt {
  readonly file: LoraFile | null;
  readonly facts: Explanation["loras"][number];
}

/** Reads the header of a LoRA and matches it to the model; what is wrong is told, not thrown. */
export async function lookAt(
  { name: given, file }: NamedLora,
  multiplier: number,
  model: ReadonlyMap<string, AdaptableModule> | null,
): Promise<LookedAt> {
  // A link may hold its site's key.
  const name = /^https?:/i.test(given) ? redactUrl(given) : given;
  const unknown: Explanation["loras"][number] = {
    name,
    network_multiplier: multiplier,
    format: null,
    network: null,
    trainer_version: null,
    modules: null,
    of: model?.size ?? null,
    groups: [],
    problem: null,
  };
  if (typeof file === "object") {
    return { file: null, facts: { ...unknown, problem: `The LoRA ${name}: ${file.missing}` } };
  }
  let read: LoraFile;
  try {
    read = await readLora(file);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    const problem = error.message.replaceAll(file, name);
    return { file: null, facts: { ...unknown, problem } };
  }
  return {
    file: read,
    facts: {
      ...unknown,
      format: read.format,
      network: networkOf(read.modules.values()),
      trainer_version: read.info.trainerVersion,
      modules: read.modules.size,
      groups: model === null ? [] : coverage(read, model),
      problem: model === null ? null : misfit(read, model, name),
    },
  };
}

/** By kind of module: how many of the model's the LoRA changes. */
function coverage(
  { modules }: LoraFile,
  model: ReadonlyMap<string, AdaptableModule>,
): Explanation["loras"][number]["groups"] {
  const count = (names: Iterable<string>) => {
    const counts = new Map<string, number>();
    for (const name of names) {
      const group = name.replace(/\.\d+\./, ".*.");
      counts.set(group, (counts.get(group) ?? 0) + 1);
    }
    return counts;
  };
  const all = count(model.keys());
  return Array.from(count(modules.keys()), ([group, own]) => ({
    group,
    modules: own,
    of: all.get(group) ?? 0,
  }));
}

function misfit(
  file: LoraFile,
  model: ReadonlyMap<string, AdaptableModule>,
  name: string,
): string | null {
  try {
    matchLora(file, model);
    return null;
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return error.message.replaceAll(file.file, name);
  }
}
