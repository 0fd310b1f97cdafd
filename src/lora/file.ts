import { InputError, listed, mostListed } from "../errors.ts";
import type { WeightSpan } from "../onnx/graph.ts";
import { sizeOf } from "../tensor/tensor.ts";
import { loraLimits } from "../weights/header-limits.ts";
import { readSafetensors } from "../weights/safetensors.ts";
import type { LoraFormat } from "./format.ts";
import { formatOf, recogniseForeign } from "./format.ts";
import { nearestName } from "./hints.ts";
import type { LoraInfo } from "./info.ts";
import { readLoraInfo } from "./info.ts";
import type { LoraModule, Parts } from "./module.ts";
import { isWhole, ModuleFault, moduleOf } from "./module.ts";
import type { LoraKey, PartName } from "./names.ts";
import { canonicalModule, fusedQkv, knownModules, parseKey, qkvParts } from "./names.ts";
import type { ModuleSettings } from "./peft-config.ts";
import { readAdapterConfig, readAdapterMetadata } from "./peft-config.ts";
import { peftConfig, placesOf } from "./places.ts";

export interface LoraFile {
  /** Real, absolute path of the safetensors file. */
  readonly file: string;
  readonly format: LoraFormat;
  readonly info: LoraInfo;
  readonly metadata: Readonly<Record<string, string>>;
  /** By diffusers' module name, `layers.3.attention.to_q`. */
  readonly modules: ReadonlyMap<string, LoraModule>;
  /** How many values its tensors hold. */
  readonly parameters: number;
  /** What of the file does not act, and why that is right. */
  readonly notes: readonly string[];
}

/** A module's tensors, and the key that first named it. */
interface Found {
  readonly parts: Parts;
  readonly keys: Map<PartName, string>;
}

/** A key that matches nothing, and the module that it names as a LoRA's key would. */
interface Unmatched {
  readonly key: string;
  readonly module: string | undefined;
}

/**
 * Reads a LoRA in any format that Z-Image LoRAs come in: which modules it has
 * and whether they are whole. No values are read.
 *
 * @param path a safetensors file, or a folder as PEFT saves it
 * @throws InputError listing all that is wrong with the file
 */
export async function readLora(path: string): Promise<LoraFile> {
  const { weights, config } = placesOf(path);
  const { file, metadata, tensors } = await readSafetensors(weights, loraLimits);
  const faults: string[] = [];
  const notes: string[] = [];
  const { found, keys, unmatched } = groupByModule(tensors, faults, notes);
  if (unmatched.length > 0 || found.size === 0) {
    throw new InputError(
      `${path} can't be used as a LoRA: ${recogniseForeign(
        unmatched.map(({ key }) => key),
        keys.length,
      )}` +
        (unmatched.length > 0
          ? ` Keys that match nothing: ${listed(unmatched.map(hinted))}.`
          : "") +
        (faults.length > 0 ? ` Also wrong: ${listed(faults)}.` : ""),
    );
  }
  const format = formatOf(keys);
  const settings =
    config === undefined ? readAdapterMetadata(metadata, weights) : await readAdapterConfig(config);
  if (format === "PEFT" && settings === undefined) {
    throw new InputError(
      `${weights} is as PEFT saves it, with its alpha in ${peftConfig}, which is not beside it. ` +
        `Give the folder that holds both.`,
    );
  }
  notes.push(...dropRepeatedQkv(found));
  const info = readLoraInfo(metadata);
  if (isFullRank(found, info)) for (const { parts } of found.values()) nameFullRank(parts);
  const modules = new Map<string, LoraModule>();
  for (const [name, { parts }] of found) {
    try {
      for (const [part, module] of unfused(name, checked(name, parts, settings))) {
        modules.set(part, module);
      }
    } catch (error) {
      if (!(error instanceof ModuleFault)) throw error;
      faults.push(`${name} ${error.message}`);
    }
  }
  const idle = [...found].filter(([, { parts }]) => parts.alpha && hasNoFactors(parts));
  if (idle.length > 0) {
    const names = listed(idle.map(([name]) => name));
    notes.push(`an alpha does not act on a whole change (.diff), as at ${names}`);
  }
  if (faults.length > 0) {
    throw new InputError(
      `${path} is not a whole LoRA: ${listed(faults)}. Save it again in the trainer.`,
    );
  }
  const parameters = [...tensors.values()].reduce((sum, { shape }) => sum + sizeOf(shape), 0);
  return {
    file,
    format,
    info,
    metadata,
    modules,
    parameters,
    notes,
  };
}

function groupByModule(
  tensors: ReadonlyMap<string, WeightSpan>,
  faults: string[],
  notes: string[],
): { found: Map<string, Found>; keys: LoraKey[]; unmatched: Unmatched[] } {
  const found = new Map<string, Found>();
  const keys: LoraKey[] = [];
  const unmatched: Unmatched[] = [];
  for (const [key, span] of tensors) {
    const parsed = parseKey(key);
    if (parsed?.module === unusedNorm) {
      keys.push(parsed);
      notes.push(`${key} does not act: the network has no use for that norm`);
      continue;
    }
    const module = parsed === undefined ? undefined : canonicalModule(parsed.module);
    if (parsed === undefined || module === undefined) {
      unmatched.push({ key, module: parsed?.module });
      continue;
    }
    keys.push(parsed);
    const own = found.get(module) ?? { parts: {}, keys: new Map<PartName, string>() };
    found.set(module, own);
    const first = own.keys.get(parsed.part);
    if (first !== undefined) {
      faults.push(`${module} has its ${parsed.part} twice, as ${first} and as ${key}`);
    }
    own.keys.set(parsed.part, key);
    own.parts[parsed.part] = span;
  }
  return { found, keys, unmatched };
}

/** In the original layout, read by nobody; ComfyUI's trainer writes a change for it too. */
const unusedNorm = "norm_final";

/**
 * ai-toolkit's network type `fullrank` saves each change whole, as a lora_A without any lora_B.
 * Source: ai-toolkit 0.12.26 `LoRAModule` in `toolkit/lora_special.py`.
 */
function isFullRank(found: ReadonlyMap<string, Found>, { trainer }: LoraInfo): boolean {
  const all = [...found.values()].map(({ parts }) => parts);
  return (
    trainer === "ai-toolkit" &&
    all.some((parts) => parts.lora_A !== undefined) &&
    all.every((parts) => parts.lora_B === undefined)
  );
}

/** Whether alpha has no product to scale. */
function hasNoFactors(parts: Parts): boolean {
  return Object.keys(parts).every((part) => ["diff", "diff_b", "alpha"].includes(part));
}

function nameFullRank(parts: Parts): void {
  if (parts.lora_A === undefined) return;
  parts.diff = parts.lora_A;
  delete parts.lora_A;
}

/** Only of those that are listed: the names nearest to thousands would take seconds. */
function hinted({ key, module }: Unmatched, index: number): string {
  if (module === undefined || index >= mostListed) return key;
  const nearest = nearestName(module, knownModules());
  return nearest === undefined ? key : `${key} (the nearest name is ${nearest})`;
}

/** Some trainers save q, k and v apart and fused once more; diffusers 0.42.1 takes those apart. */
function dropRepeatedQkv(found: Map<string, Found>): string[] {
  const notes: string[] = [];
  for (const name of [...found.keys()]) {
    if (!name.endsWith(fusedQkv)) continue;
    const block = name.slice(0, -fusedQkv.length);
    const apart = qkvParts.filter((part) => found.has(block + part));
    if (apart.length === 0) continue;
    found.delete(name);
    notes.push(`${name} repeats ${apart.map((part) => block + part).join(", ")} and does not act`);
  }
  return notes;
}

function checked(
  name: string,
  parts: Parts,
  settingsOf: ((module: string) => ModuleSettings) | undefined,
): LoraModule {
  const settings = settingsOf?.(name);
  const module = moduleOf(parts, settings?.scale ?? 1);
  const { delta } = module;
  if (settings === undefined || isWhole(delta)) return module;
  if (delta.kind === "lora" && settings.rank !== delta.rank) {
    throw new ModuleFault(
      `has rank ${delta.rank}, and ${settings.rank} in the configuration that was saved with it`,
    );
  }
  if (settings.dora && module.magnitude === null) {
    throw new ModuleFault("has no magnitude, and its configuration says DoRA");
  }
  return module;
}

/** A fused module is three, each with a third of the rows. */
function unfused(name: string, module: LoraModule): [string, LoraModule][] {
  if (!name.endsWith(fusedQkv)) return [[name, module]];
  const block = name.slice(0, -fusedQkv.length);
  if (module.outDim % 3 !== 0) {
    throw new ModuleFault(`has ${module.outDim} rows, which are not three equal parts`);
  }
  const count = module.outDim / 3;
  return qkvParts.map((part, i) => [
    block + part,
    { ...module, outDim: count, rows: { start: i * count, count } },
  ]);
}
