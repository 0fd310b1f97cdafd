import { InputError } from "../errors.ts";
import type { Rounding, RoundingMethod, TrainDtype } from "../job/rounding.ts";
import type { WeightSpan } from "../onnx/graph.ts";
import { dtypeBytes } from "../tensor/dtype.ts";
import { sizeOf } from "../tensor/tensor.ts";
import { textEncoderLinears } from "../text-encoder/config.ts";
import { adaptableModules, isEmbedder } from "../transformer/weight-shapes.ts";
import type { DeriveOptions } from "../weights/derived-file.ts";
import type { MergedPair } from "../weights/round-as-trained.ts";
import { roundAsTrained, storedAs } from "../weights/round-as-trained.ts";
import type { Component, Components } from "./components.ts";
import { withWeights } from "./components.ts";
import { findTrainingAdapter, mergedPairs } from "./training-adapter.ts";

export interface AsTrainedOptions extends DeriveOptions {
  readonly cacheFolder: string;
}

/**
 * A model as a training held it: `Rounding` says how. The networks that compute are the same; the
 * weights that they map are rounded ones, made once.
 *
 * @param stores where the adapter is looked for
 * @throws InputError if a part is stored in less than 16 bits, or the adapter is not there
 */
export async function roundComponents(
  components: Components,
  stores: readonly string[],
  rounding: Rounding,
  options: AsTrainedOptions,
): Promise<Components> {
  const { model, textEncoder, transformer, vae } = components;
  const adapter =
    rounding.adapter === null
      ? null
      : await findTrainingAdapter(stores, rounding.adapter, model.id);
  const merged =
    adapter === null ? nothing : await mergedPairs(adapter, transformer.config, rounding.dtype);
  const matrices = [...adaptableModules(transformer.config)]
    .filter(([module, { inDim }]) => inDim !== null && (rounding.embedders || !isEmbedder(module)))
    .map(([module]) => `${module}.weight`);
  const { dtype } = rounding;
  return {
    ...components,
    transformer: await roundPart(
      transformer,
      { matrices, method: rounding.transformer, dtype, merged, adapter },
      options,
    ),
    textEncoder: await roundPart(
      textEncoder,
      {
        matrices: textEncoderLinears(textEncoder.config),
        method: rounding.textEncoder,
        dtype,
        merged: nothing,
        adapter: null,
      },
      options,
    ),
    vae: await roundPart(
      vae,
      { matrices: [], method: null, dtype, merged: nothing, adapter: null },
      options,
    ),
    asTrained: { rounding, adapter },
  };
}

/**
 * What the rounded transformer will be like: every weight in the training's dtype, none of them there yet.
 *
 * @throws InputError if it is stored in less than 16 bits
 */
export function roundedOutline(components: Components, { dtype }: Rounding): Components {
  requireWhole(components.transformer);
  const stored = storedAs[dtype];
  const weights = new Map(
    [...components.transformer.weights].map(([name, span]): [string, WeightSpan] => [
      name,
      { ...span, dtype: stored, byteLength: sizeOf(span.shape) * dtypeBytes[stored] },
    ]),
  );
  return { ...components, transformer: withWeights(components.transformer, weights) };
}

const nothing: ReadonlyMap<string, () => Promise<MergedPair>> = new Map();

interface PartRounding {
  readonly matrices: readonly string[];
  readonly method: RoundingMethod | null;
  readonly dtype: TrainDtype;
  readonly merged: ReadonlyMap<string, () => Promise<MergedPair>>;
  readonly adapter: string | null;
}

async function roundPart<Config>(
  part: Component<Config>,
  { matrices, method, dtype, merged, adapter }: PartRounding,
  { cacheFolder, ...options }: AsTrainedOptions,
): Promise<Component<Config>> {
  requireWhole(part);
  const weights = await roundAsTrained(
    {
      weights: part.weights,
      matrices,
      method,
      dtype,
      merged,
      sources: adapter === null ? part.sources : [...part.sources, adapter],
      cacheFolder,
    },
    options,
  );
  return withWeights(part, weights);
}

function requireWhole({ sources, quantization }: Component<unknown>): void {
  if (quantization !== null) {
    throw new InputError(
      `${sources.join(", ")} is quantised already (${quantization}), and the trainer rounded ` +
        "whole weights: leave rounding as in training away (--as-trained, as_trained), or use weights in bf16, f16 or f32.",
    );
  }
}
