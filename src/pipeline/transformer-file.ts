import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { InputError } from "../errors.ts";
import { openRegular, readExactly } from "../files/read.ts";
import type { WeightSpan } from "../onnx/graph.ts";
import type { TransformerConfig } from "../transformer/config.ts";
import { isTransformerConfig, parseTransformerConfig } from "../transformer/config.ts";
import {
  inferTransformerConfig,
  refuseLeftover,
  transformerPart,
  withDiffusersNames,
} from "../transformer/single-file.ts";
import { transformerWeights } from "../transformer/weight-shapes.ts";
import { requireWeights } from "../weights/component.ts";
import type { DeriveOptions } from "../weights/derived-file.ts";
import { attachScales, isFp8 } from "../weights/fp8-scales.ts";
import { readGguf } from "../weights/gguf.ts";
import { openGgufTensors, outlineGgufTensors } from "../weights/repack-gguf.ts";
import { readSafetensors } from "../weights/safetensors.ts";
import { readJson } from "../weights/store.ts";

/** A transformer out of one file, its tensors under diffusers' names. */
export interface TransformerFile {
  readonly config: TransformerConfig;
  readonly weights: ReadonlyMap<string, WeightSpan>;
  readonly quantization: string | null;
}

export interface TransformerFileOptions extends DeriveOptions {
  readonly cacheFolder: string;
  /** Nothing is made in the cache: weights that would be are outlines, of which nothing can be read. */
  readonly outline?: boolean;
}

/**
 * A transformer in one file, as other tools write it: with the original names or diffusers',
 * alone or in a checkpoint that holds more; in bf16, f16, f32 or fp8, or as GGUF.
 *
 * @param storeConfig `transformer/config.json` of the model's own repository, if it is there
 * @throws InputError naming the file and what is wrong with it
 */
export async function openTransformerFile(
  path: string,
  storeConfig: string | undefined,
  options: TransformerFileOptions,
): Promise<TransformerFile> {
  if (await isGguf(path)) return openGgufTransformer(path, storeConfig, options);
  const { tensors } = await readSafetensors(path);
  const scaled = await attachScales(transformerPart(tensors, path), path);
  const weights = withDiffusersNames(scaled, path);
  const config = await checkedConfig(path, weights, storeConfig);
  return { config, weights, quantization: fp8Kind(weights) };
}

async function openGgufTransformer(
  path: string,
  storeConfig: string | undefined,
  { cacheFolder, outline = false, ...options }: TransformerFileOptions,
): Promise<TransformerFile> {
  const { tensors } = await readGguf(path);
  const part = transformerPart(tensors, path);
  // All of it is checked before the cache is filled with gigabytes.
  const outlines = outlineGgufTensors(part, path);
  const config = await checkedConfig(path, withDiffusersNames(outlines, path), storeConfig);
  const spans = outline ? outlines : await openGgufTensors(part, path, cacheFolder, options);
  const kinds = [...part.values()].flatMap(({ storage }) =>
    typeof storage === "string" ? [] : [storage.name],
  );
  return {
    config,
    weights: withDiffusersNames(spans, path),
    quantization: kinds.length === 0 ? null : `gguf ${[...new Set(kinds)].toSorted().join(", ")}`,
  };
}

/** By its first bytes: names of files say little. */
async function isGguf(path: string): Promise<boolean> {
  const start = Buffer.alloc(4);
  try {
    const { handle } = await openRegular(path, "model file");
    try {
      await readExactly(handle, start, 0, path);
    } finally {
      await handle.close();
    }
  } catch (error) {
    // What is wrong with it is said by whoever opens it.
    if (error instanceof InputError) return false;
    throw error;
  }
  return start.toString("latin1") === "GGUF";
}

async function checkedConfig(
  path: string,
  tensors: ReadonlyMap<string, WeightSpan>,
  storeConfig: string | undefined,
): Promise<TransformerConfig> {
  const config = await configFor(path, tensors, storeConfig);
  const expected = transformerWeights(config);
  refuseLeftover(
    [...tensors.keys()].filter((name) => !expected.has(name)),
    path,
  );
  requireWeights(tensors, expected, path, ["F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"]);
  return config;
}

/** The file's own configuration, else the store's, else what the shapes tell. */
async function configFor(
  path: string,
  tensors: ReadonlyMap<string, WeightSpan>,
  storeConfig: string | undefined,
): Promise<TransformerConfig> {
  const beside = join(dirname(path), "config.json");
  if (existsSync(beside)) {
    const json = await readJson(beside, "Correct it, or move it away.");
    if (isTransformerConfig(json)) return parseTransformerConfig(json, beside);
  }
  if (storeConfig !== undefined) {
    return parseTransformerConfig(
      await readJson(storeConfig, "Fetch its repository again: retake pull."),
      storeConfig,
    );
  }
  return parseTransformerConfig(inferTransformerConfig(tensors, path), path);
}

function fp8Kind(tensors: ReadonlyMap<string, WeightSpan>): string | null {
  const fp8 = [...tensors.values()].filter(isFp8);
  if (fp8.length === 0) return null;
  const dtypes = [...new Set(fp8.map(({ dtype }) => dtype.toLowerCase()))].toSorted();
  const scaled = fp8.some(({ scale }) => scale !== undefined);
  return `${dtypes.join(", ")}${scaled ? " scaled" : ""}`;
}
