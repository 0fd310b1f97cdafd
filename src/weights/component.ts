import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { z } from "zod";
import { InputError, listed, MissingFileError } from "../errors.ts";
import type { WeightSpan } from "../onnx/graph.ts";
import type { Dtype } from "../tensor/dtype.ts";
import { readSafetensors } from "./safetensors.ts";
import { fetchAgain, readJson, type Source } from "./store.ts";

const indexSchema = z.object({
  weight_map: z
    .record(z.string(), z.string())
    // A tensor may have any name, also one that every object has.
    .transform((weightMap) => new Map(Object.entries(weightMap))),
});

/** What a folder of the hub's may hold. */
const wideDtypes: readonly Dtype[] = ["F32", "F16", "BF16"];

/**
 * The weights of one component, from `<stem>.safetensors` or from the shards
 * that `<stem>.safetensors.index.json` lists.
 *
 * @param source named in errors, so that a person knows what to fetch
 * @throws InputError naming the file and the repository
 */
export async function openComponent(
  folder: string,
  stem: string,
  source: Source,
): Promise<Map<string, WeightSpan>> {
  const single = join(folder, `${stem}.safetensors`);
  if (existsSync(single)) return new Map((await readSafetensors(single)).tensors);
  const index = join(folder, `${stem}.safetensors.index.json`);
  if (!existsSync(index)) {
    throw new MissingFileError(
      `${folder} has neither ${stem}.safetensors nor ${stem}.safetensors.index.json. ` +
        fetchAgain(source),
    );
  }
  return openShards(folder, index, source);
}

async function openShards(
  folder: string,
  index: string,
  source: Source,
): Promise<Map<string, WeightSpan>> {
  const parsed = indexSchema.safeParse(await readJson(index, fetchAgain(source)));
  if (!parsed.success) {
    throw new InputError(`${index} has no valid weight_map. ${fetchAgain(source)}`);
  }
  const { weight_map: weightMap } = parsed.data;
  const tensors = new Map<string, WeightSpan>();
  for (const shard of new Set(weightMap.values())) {
    // A shard is a plain name: nothing may lead out of the folder.
    if (basename(shard) !== shard || !shard.endsWith(".safetensors") || shard.includes("\\")) {
      throw new InputError(`${index} names the shard "${shard}", which is not a file name.`);
    }
    const path = join(folder, shard);
    if (!existsSync(path)) {
      throw new MissingFileError(`shard ${shard} is missing from ${folder}. ${fetchAgain(source)}`);
    }
    for (const [name, span] of (await readSafetensors(path)).tensors) {
      if (tensors.has(name)) throw new InputError(`tensor ${name} is in two shards of ${folder}.`);
      const place = weightMap.get(name);
      if (place !== shard) {
        throw new InputError(
          `${path} holds tensor ${name}, which ${index} ${place === undefined ? "does not list" : `places in ${place}`}. ${fetchAgain(source)}`,
        );
      }
      tensors.set(name, span);
    }
  }
  const absent = [...weightMap.keys()].filter((name) => !tensors.has(name));
  if (absent.length > 0) {
    throw new InputError(
      `${index} lists tensors that their shards don't hold: ${listed(absent)}. ${fetchAgain(source)}`,
    );
  }
  return tensors;
}

/**
 * Compares the tensors that are there with those that a configuration implies.
 *
 * @param where e.g. "transformer/ of Tongyi-MAI/Z-Image"
 * @throws InputError listing what is missing or of another shape
 */
export function requireWeights(
  tensors: ReadonlyMap<string, WeightSpan>,
  expected: ReadonlyMap<string, readonly number[]>,
  where: string,
  dtypes: readonly Dtype[] = wideDtypes,
): void {
  const faults: string[] = [];
  for (const [name, shape] of expected) {
    const span = tensors.get(name);
    if (span === undefined) faults.push(`${name} is missing`);
    else if (String(span.shape) !== String(shape)) {
      faults.push(`${name} is [${span.shape}], the configuration implies [${shape}]`);
    } else if (span.blocks === undefined && !dtypes.includes(span.dtype)) {
      faults.push(`${name} is ${span.dtype}; ${dtypes.join(", ")} can be computed`);
    }
  }
  if (faults.length === 0) return;
  throw new InputError(
    `the weights in ${where} don't fit their configuration: ${listed(faults)}. ` +
      "Is it the right model, and whole? Fetch it again.",
  );
}
