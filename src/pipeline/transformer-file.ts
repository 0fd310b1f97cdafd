import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import type { WeightSpan } from "../onnx/graph.ts";
import type { TransformerConfig } from "../transformer/config.ts";
import { isTransformerConfig, parseTransformerConfig } from "../transformer/config.ts";
import { inferTransformerConfig } from "../transformer/infer-config.ts";
import { refuseLeftover, transformerPart, withDiffusersNames } from "../transformer/single-file.ts";
import { transformerWeights } from "../transformer/weight-shapes.ts";
import { requireWeights } from "../weights/component.ts";
import { attachScales, isFp8 } from "../weights/fp8-scales.ts";
import { readSafetensors } from "../weights/safetensors.ts";
import { readJson } from "../weights/store.ts";

/** A transformer out of one file, its tensors under diffusers' names. */
export interface TransformerFile {
  readonly config: TransformerConfig;
  readonly weights: ReadonlyMap<string, WeightSpan>;
  readonly quantization: string | null;
}

/**
 * A transformer in one file, as other tools write it: with the original names or diffusers',
 * alone or in a checkpoint that holds more; in bf16, f16, f32 or fp8.
 *
 * @param storeConfig `transformer/config.json` of the model's own repository, if it is there
 * @throws InputError naming the file and what is wrong with it
 */
export async function openTransformerFile(
  path: string,
  storeConfig: string | undefined,
): Promise<TransformerFile> {
  const { tensors } = await readSafetensors(path);
  const scaled = await attachScales(transformerPart(tensors, path), path);
  const named = withDiffusersNames(scaled, path);
  const config = await configFor(path, named, storeConfig);
  const expected = transformerWeights(config);
  refuseLeftover(
    [...named.keys()].filter((name) => !expected.has(name)),
    path,
  );
  requireWeights(named, expected, path, ["F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"]);
  return { config, weights: named, quantization: fp8Kind(named) };
}

/** The file's own configuration, else the store's, else what the shapes tell. */
async function configFor(
  path: string,
  tensors: ReadonlyMap<string, WeightSpan>,
  storeConfig: string | undefined,
): Promise<TransformerConfig> {
  const beside = join(dirname(path), "config.json");
  if (existsSync(beside)) {
    const json = await readJson(beside, "the file");
    if (isTransformerConfig(json)) return parseTransformerConfig(json, beside);
  }
  if (storeConfig !== undefined) {
    return parseTransformerConfig(await readJson(storeConfig, "its repository"), storeConfig);
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
