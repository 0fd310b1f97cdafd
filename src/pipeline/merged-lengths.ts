import type { MergedDelta, RowNorms } from "../transformer/weight-norms.ts";
import type { ActiveLora } from "./compose-adapters.ts";
import type { LoadedModule } from "./loaded-lora.ts";

/** Computes a module's norms with further changes in its weight. */
type Measure = (
  name: string,
  module: LoadedModule,
  merged: readonly MergedDelta[],
) => Promise<RowNorms>;

/**
 * The same LoRAs with the lengths that ai-toolkit's DoRAs have beside those before them. The trainer
 * merges its training adapter into the weight before the DoRA measures it, so what stands before such
 * a DoRA is part of its rows' lengths. PEFT and LyCORIS measure the base weight alone.
 * Source: ai-toolkit 0.12.26 `load_training_adapter` in `z_image.py`, `apply_dora` in `DoRA.py`.
 */
export async function withMergedLengths(
  loras: readonly ActiveLora[],
  measure: Measure,
): Promise<ActiveLora[]> {
  const measured: ActiveLora[] = [];
  for (const [i, { lora, multiplier }] of loras.entries()) {
    const modules = new Map(lora.modules);
    for (const [name, module] of lora.modules) {
      if (module.magnitude?.rule !== "ai-toolkit" || multiplier === 0) continue;
      const merged = loras.slice(0, i).flatMap((before) => partOf(before, name));
      if (merged.length === 0) continue;
      modules.set(name, { ...module, norms: await measure(name, module, merged) });
    }
    measured.push({ lora: { ...lora, modules }, multiplier });
  }
  return measured;
}

function partOf({ lora, multiplier }: ActiveLora, name: string): MergedDelta[] {
  const module = lora.modules.get(name);
  // A DoRA before it is no sum with the weight.
  if (module === undefined || module.delta === null || module.magnitude !== null) return [];
  const factor = Math.fround(multiplier * module.scale);
  return factor === 0 ? [] : [{ delta: module.delta, factor }];
}
