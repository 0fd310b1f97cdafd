import { loadAdapter } from "./adapter.ts";
import { readLora } from "./file.ts";

/** What a LoRA file is, as plain JSON. */
export interface LoraDescription {
  readonly [fact: string]:
    | string
    | number
    | null
    | readonly (string | number)[]
    | Readonly<Record<string, number>>;
}

/**
 * Says what a LoRA file is, after reading all of it.
 *
 * @throws InputError if it can't be used
 */
export async function describeLora(path: string): Promise<LoraDescription> {
  const lora = await readLora(path);
  const { file, sha256, info, modules } = lora;
  const groups: Record<string, number> = {};
  const scales: number[] = [];
  for (const [name, module] of modules) {
    const group = name.replace(/\.\d+\./, ".*.");
    groups[group] = (groups[group] ?? 0) + 1;
    // One by one: all values together may be more than memory holds.
    const adapter = await loadAdapter({ ...lora, modules: new Map([[name, module]]) });
    scales.push(adapter.get(name)!.scale);
  }
  const found = [...modules.values()];
  return {
    file,
    sha256,
    name: info.outputName,
    base_model: info.baseModel,
    trainer: info.trainer,
    trainer_version: info.trainerVersion,
    step: info.step,
    epoch: info.epoch,
    trigger_words: info.triggerWords,
    rank: distinct(found.map(({ rank }) => rank)),
    alpha: found.every(({ alpha, headerScale }) => alpha === null && headerScale === 1)
      ? "none stored (alpha = rank)"
      : "stored",
    scale: distinct(scales),
    dtype: distinct(found.map(({ loraA }) => loraA.dtype)),
    modules: modules.size,
    module_groups: groups,
  };
}

function distinct<T>(values: readonly T[]): T | T[] {
  const all = [...new Set(values)].sort();
  return all.length === 1 ? all[0]! : all;
}
