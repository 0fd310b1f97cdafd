import { loadAdapter } from "../lora/adapter.ts";
import type { LoraFile } from "../lora/file.ts";
import { readLora } from "../lora/file.ts";
import { matchLora } from "../lora/match.ts";
import type { GenerateRequest } from "../schema/request.ts";
import type { AdapterModules } from "../transformer/adapter.ts";
import { linearModules } from "../transformer/weight-shapes.ts";
import type { Components } from "./components.ts";

export interface RequestAdapter {
  readonly file: LoraFile;
  readonly modules: AdapterModules;
}

/** Reads a request's LoRA, checks it against the model and folds its multiplier in. */
export async function openAdapter(
  { transformer }: Components,
  lora: GenerateRequest["lora"],
): Promise<RequestAdapter | undefined> {
  if (lora === undefined) return undefined;
  const file = await readLora(lora.path);
  matchLora(file, linearModules(transformer.config));
  const adapter = await loadAdapter(file);
  const modules = new Map(
    [...adapter].map(([name, module]) => [
      name,
      { ...module, scale: Math.fround(lora.multiplier * module.scale) },
    ]),
  );
  return { file, modules };
}
