import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { InputError } from "../errors.ts";
import type { WeightSpan } from "../onnx/graph.ts";
import { sizeOf } from "../tensor/tensor.ts";
import { readSafetensors } from "../weights/safetensors.ts";
import { readAdapterMetadata } from "./adapter-metadata.ts";
import { recogniseFormat } from "./format.ts";
import type { LoraInfo } from "./info.ts";
import { readLoraInfo } from "./info.ts";
import { listed } from "./listed.ts";

/** One module's pair of matrices: loraA [rank, in], loraB [out, rank]. */
interface LoraModule {
  readonly rank: number;
  /** A tensor of one value that scales the pair to alpha/rank, or null: that factor is 1. */
  readonly alpha: WeightSpan | null;
  /** A further factor of the pair, from the header's lora_adapter_metadata; 1 without it. */
  readonly headerScale: number;
  readonly loraA: WeightSpan;
  readonly loraB: WeightSpan;
}

export interface LoraFile {
  /** Real, absolute path. */
  readonly file: string;
  readonly sha256: string;
  readonly info: LoraInfo;
  /** By diffusers' module name, `layers.3.attention.to_q`. */
  readonly modules: ReadonlyMap<string, LoraModule>;
}

const keyPattern = /^diffusion_model\.(?<module>.+)\.(?<part>lora_A\.weight|lora_B\.weight|alpha)$/;

type Parts = Partial<Record<"lora_A.weight" | "lora_B.weight" | "alpha", WeightSpan>>;

/**
 * Reads a LoRA in ai-toolkit's format: which modules it has and whether they
 * are whole. No values are read.
 *
 * @throws InputError listing all that is wrong with the file
 */
export async function readLora(path: string): Promise<LoraFile> {
  const { file, metadata, tensors } = await readSafetensors(path);
  const parts = new Map<string, Parts>();
  const unmatched: string[] = [];
  for (const [key, span] of tensors) {
    const groups = keyPattern.exec(key)?.groups;
    if (groups === undefined) {
      unmatched.push(key);
      continue;
    }
    const module = parts.get(groups.module!) ?? {};
    module[groups.part as keyof Parts] = span; // the pattern has no other parts
    parts.set(groups.module!, module);
  }
  // Another format is named as such, whatever its header says.
  const settingsOf = unmatched.length > 0 ? undefined : readAdapterMetadata(metadata, path);
  const faults: string[] = [];
  const modules = new Map<string, LoraModule>();
  for (const [name, module] of parts) {
    const fault = moduleFault(module);
    if (fault !== undefined) {
      faults.push(`${name} ${fault}`);
      continue;
    }
    const loraA = module["lora_A.weight"]!;
    const loraB = module["lora_B.weight"]!;
    const rank = loraA.shape[0]!;
    const settings = settingsOf?.(name);
    if (settings !== undefined && settings.rank !== rank) {
      faults.push(`${name} has rank ${rank}, and ${settings.rank} in lora_adapter_metadata`);
    }
    const headerScale = settings?.scale ?? 1;
    modules.set(name, { rank, alpha: module.alpha ?? null, headerScale, loraA, loraB });
  }
  if (unmatched.length > 0 || parts.size === 0) {
    throw new InputError(
      `${path} can't be used as a LoRA: ${recogniseFormat([...tensors.keys()])} ` +
        `Retake reads ai-toolkit's format (diffusion_model.….lora_A.weight).` +
        (unmatched.length > 0 ? ` Keys that match nothing: ${listed(unmatched)}.` : "") +
        (faults.length > 0 ? ` Also wrong: ${listed(faults)}.` : ""),
    );
  }
  if (faults.length > 0) {
    throw new InputError(
      `${path} is not a whole LoRA: ${listed(faults)}. Save it again in the trainer.`,
    );
  }
  return { file, sha256: await hashFile(file), info: readLoraInfo(metadata), modules };
}

function moduleFault(module: Parts): string | undefined {
  const loraA = module["lora_A.weight"];
  const loraB = module["lora_B.weight"];
  if (loraA === undefined) return "has no lora_A";
  if (loraB === undefined) return "has no lora_B";
  for (const [part, span] of Object.entries({ lora_A: loraA, lora_B: loraB })) {
    if (span.shape.length !== 2) return `has a ${part} of [${span.shape}], which is not a matrix`;
  }
  for (const [part, span] of Object.entries(module)) {
    if (!["F32", "F16", "BF16"].includes(span.dtype)) {
      return `has its ${part} in ${span.dtype}; F32, F16 and BF16 can be used`;
    }
  }
  if (loraA.shape[0] !== loraB.shape[1]) {
    return `has rank ${loraA.shape[0]} in lora_A [${loraA.shape}] and ${loraB.shape[1]} in lora_B [${loraB.shape}]`;
  }
  if (loraA.shape[0] === 0) return "has rank 0";
  if (module.alpha !== undefined && sizeOf(module.alpha.shape) !== 1) {
    return `has an alpha of [${module.alpha.shape}], which is not one number`;
  }
  return undefined;
}

async function hashFile(file: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash);
  return hash.digest("hex");
}
