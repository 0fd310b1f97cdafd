import type { AdapterValues } from "../lora/adapter.ts";
import { loadAdapter } from "../lora/adapter.ts";
import type { LoraFile } from "../lora/file.ts";
import { readLora } from "../lora/file.ts";
import { matchLora } from "../lora/match.ts";
import type { AdapterModules } from "../transformer/adapter.ts";
import { linearModules } from "../transformer/weight-shapes.ts";
import type { Components } from "./components.ts";

/** A LoRA in memory: its values in f32, by module, not yet scaled by anybody's multiplier. */
export interface LoadedLora {
  readonly file: LoraFile;
  readonly values: ReadonlyMap<string, AdapterValues>;
}

/** Reads a LoRA and checks it against the model. @throws InputError saying what doesn't fit */
export async function openLora({ transformer }: Components, path: string): Promise<LoadedLora> {
  const file = await readLora(path);
  matchLora(file, linearModules(transformer.config));
  return { file, values: await loadAdapter(file) };
}

/** What the transformer takes: each module's scale times the request's multiplier. */
export function scaleAdapter({ values }: LoadedLora, multiplier: number): AdapterModules {
  return new Map(
    [...values].map(([name, module]) => [
      name,
      { ...module, scale: Math.fround(multiplier * module.scale) },
    ]),
  );
}

export function bytesOf({ values }: LoadedLora): number {
  let bytes = 0;
  for (const { loraA, loraB } of values.values())
    bytes += loraA.data.byteLength + loraB.data.byteLength;
  return bytes;
}
