import { hashLora, readHeld } from "../lora/content.ts";
import type { LoraFile } from "../lora/file.ts";
import { readLora } from "../lora/file.ts";
import { matchLora } from "../lora/match.ts";
import type { AdapterValues } from "../lora/values.ts";
import { loadAdapter } from "../lora/values.ts";
import { stopPoint } from "../stop-point.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { RowNorms } from "../transformer/weight-norms.ts";
import { rowNorms } from "../transformer/weight-norms.ts";
import { adaptableModules } from "../transformer/weight-shapes.ts";
import type { Components } from "./components.ts";

/** One module of a LoRA in memory. */
export interface LoadedModule extends AdapterValues {
  /** With a magnitude (DoRA): what gives the length of each changed row for any multiplier. */
  readonly norms: RowNorms | null;
}

/** A LoRA in memory: its values in f32, by module, not yet scaled by anybody's multiplier. */
export interface LoadedLora {
  readonly file: LoraFile;
  readonly sha256: string;
  readonly modules: ReadonlyMap<string, LoadedModule>;
}

/**
 * Reads a LoRA and checks it against the model.
 *
 * @throws InputError saying what doesn't fit
 * @throws CanceledError at the module after the signal
 */
export async function openLora(
  { transformer }: Components,
  path: string,
  signal?: AbortSignal,
): Promise<LoadedLora> {
  const file = await readLora(path);
  matchLora(file, adaptableModules(transformer.config));
  const held = await readHeld(file.file);
  const [sha256, adapter] = await Promise.all([
    hashLora(file.file, held, signal),
    loadAdapter(file, { held, signal }),
  ]);
  const modules = new Map<string, LoadedModule>();
  for (const [name, values] of adapter) {
    if (values.magnitude !== null) await stopPoint(signal);
    const norms =
      values.magnitude === null || values.delta === null
        ? null
        : await rowNorms(transformer.lookup, name, values.delta);
    modules.set(name, { ...values, norms });
  }
  return { file, sha256, modules };
}

export function bytesOf({ modules }: LoadedLora): number {
  const tensors = new Set<Tensor>();
  for (const { delta, biasDelta } of modules.values()) {
    if (biasDelta !== null) tensors.add(biasDelta);
    if (delta === null) continue;
    if (delta.kind === "full") tensors.add(delta.whole);
    else if (delta.kind === "lora") tensors.add(delta.loraA).add(delta.loraB);
    else if (delta.kind === "lokr")
      for (const tensor of [delta.w1, ...delta.w2]) tensors.add(tensor);
    else for (const part of ["w1a", "w1b", "w2a", "w2b"] as const) tensors.add(delta[part]);
  }
  return [...tensors].reduce((sum, { data }) => sum + data.byteLength, 0);
}
