import { existsSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { InputError } from "../errors.ts";
import type { TrainDtype } from "../job/rounding.ts";
import { readLora } from "../lora/file.ts";
import { matchLora } from "../lora/match.ts";
import type { AdapterValues } from "../lora/values.ts";
import { loadAdapter } from "../lora/values.ts";
import { roundToDtype } from "../tensor/dtype.ts";
import type { TransformerConfig } from "../transformer/config.ts";
import { adaptableModules } from "../transformer/weight-shapes.ts";
import type { MergedPair } from "../weights/round-as-trained.ts";
import { storedAs } from "../weights/round-as-trained.ts";
import { findRepository } from "../weights/store.ts";

const hubName = /^(\w[\w.-]*\/\w[\w.-]*)\/(\w[\w.-]*\.safetensors)$/;

/**
 * The file of a training adapter.
 *
 * @param stores model stores in which `owner/name/file.safetensors` is looked for, in order
 * @param named that, or an absolute path
 * @throws InputError saying where it was looked for and how to fetch it
 */
export async function findTrainingAdapter(
  stores: readonly string[],
  named: string,
  model: string,
): Promise<string> {
  if (isAbsolute(named)) return named;
  const [, repository, file] = hubName.exec(named) ?? [];
  if (repository === undefined || file === undefined) {
    throw new InputError(
      `the training adapter ${named} is neither an absolute path nor owner/name/file.safetensors.`,
    );
  }
  for (const store of stores) {
    const folder = await findRepository(store, { repository, model });
    if (folder !== undefined && existsSync(join(folder, file))) return join(folder, file);
  }
  throw new InputError(
    `the training adapter ${named} is not in ${stores.join(", nor in ")}. Fetch it: retake pull ${model}, ` +
      "with the same --weights; or, on the command line, give its file with --training-adapter.",
  );
}

/**
 * What an adapter adds to each matrix of the transformer, in the dtype that the trainer holds it in. Values
 * are read when they are first asked for.
 *
 * @throws InputError if the file is not a LoRA of this model
 */
export async function mergedPairs(
  path: string,
  config: TransformerConfig,
  dtype: TrainDtype,
): Promise<Map<string, () => Promise<MergedPair>>> {
  const lora = await readLora(path);
  matchLora(lora, adaptableModules(config));
  let loading: Promise<Map<string, AdapterValues>> | undefined;
  const pairs = new Map<string, () => Promise<MergedPair>>();
  for (const [name, { delta, biasDelta, magnitude }] of lora.modules) {
    const isPair = delta?.kind === "lora" && delta.bias === null && biasDelta === null;
    if (!isPair || magnitude !== null) {
      throw new InputError(
        `${path} can't be a training adapter: ${name} is more than a pair of low-rank matrices.`,
      );
    }
    pairs.set(`${name}.weight`, async () => {
      loading ??= loadAdapter(lora);
      return pairOf((await loading).get(name)!, dtype);
    });
  }
  return pairs;
}

function pairOf({ delta }: AdapterValues, dtype: TrainDtype): MergedPair {
  if (delta?.kind !== "lora") throw new RangeError("only pairs are merged");
  const rounded = ({ data, shape }: MergedPair["loraA"]) => {
    const values = Float32Array.from(data);
    roundToDtype(values, storedAs[dtype]);
    return { data: values, shape };
  };
  return { loraA: rounded(delta.loraA), loraB: rounded(delta.loraB) };
}
