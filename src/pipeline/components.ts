import { join } from "node:path";
import { InputError } from "../errors.ts";
import type { ModelDefinition } from "../models/model.ts";
import type { WeightLookup, WeightSpan } from "../onnx/graph.ts";
import type { Tokenizer } from "../prompt/tokenizer.ts";
import { loadTokenizer } from "../prompt/tokenizer.ts";
import { parseSchedulerConfig } from "../sampler/scheduler-config.ts";
import type { TextEncoderConfig } from "../text-encoder/config.ts";
import { parseTextEncoderConfig } from "../text-encoder/config.ts";
import { textEncoderWeights } from "../text-encoder/weight-shapes.ts";
import type { TransformerConfig } from "../transformer/config.ts";
import { parseTransformerConfig } from "../transformer/config.ts";
import { transformerWeights } from "../transformer/weight-shapes.ts";
import type { VaeConfig } from "../vae/config.ts";
import { parseVaeConfig } from "../vae/config.ts";
import { vaeWeights } from "../vae/weight-shapes.ts";
import { openComponent, requireWeights } from "../weights/component.ts";
import { readJson, repositoryFolder, type Source } from "../weights/store.ts";

/** A part of a model: its configuration and where each of its weights lies. Nothing is loaded. */
export interface Component<Config> {
  readonly name: string;
  readonly config: Config;
  readonly weights: ReadonlyMap<string, WeightSpan>;
  readonly lookup: WeightLookup;
}

/** All that one model needs, found and checked. */
export interface Components {
  readonly model: ModelDefinition;
  readonly tokenizer: Tokenizer;
  readonly textEncoder: Component<TextEncoderConfig>;
  readonly transformer: Component<TransformerConfig>;
  readonly vae: Component<VaeConfig>;
  /** Shift of the schedule. */
  readonly shift: number;
}

/**
 * Finds a model's parts in a model store and checks every header, shape and
 * span, before anything is computed.
 *
 * @param weights a folder with the hub's names, a hub cache folder, or `demo`
 * @throws InputError naming the file and the repository of what is missing or wrong
 */
export async function openComponents(weights: string, model: ModelDefinition): Promise<Components> {
  const { rest, transformer: transformerSource } = sourcesOf(model);
  const folder = await repositoryFolder(weights, rest);
  const transformerFolder = await repositoryFolder(weights, transformerSource);
  const textEncoder = await openPart(folder, rest, parts.textEncoder);
  const transformer = await openPart(transformerFolder, transformerSource, parts.transformer);
  const vae = await openPart(folder, rest, parts.vae);
  if (transformer.config.captionDim !== textEncoder.config.hiddenSize) {
    throw new InputError(
      `the transformer of ${model.transformerRepository} takes prompt embeds of width ` +
        `${transformer.config.captionDim}, the text encoder of ${model.repository} gives ` +
        `${textEncoder.config.hiddenSize}: they don't belong together. Fetch both again: retake pull ${model.id}.`,
    );
  }
  if (transformer.config.inChannels !== vae.config.latentChannels) {
    throw new InputError(
      `the transformer of ${model.transformerRepository} has ${transformer.config.inChannels} latent ` +
        `channels, the VAE of ${model.repository} ${vae.config.latentChannels}: they don't belong ` +
        `together. Fetch both again: retake pull ${model.id}.`,
    );
  }
  return {
    model,
    tokenizer: await loadTokenizer(join(folder, "tokenizer"), rest),
    textEncoder,
    transformer,
    vae,
    shift: model.shift === "repository" ? await readShift(folder, rest) : model.shift,
  };
}

/** Where a model's parts come from. */
export function sourcesOf({ id, repository, transformerRepository }: ModelDefinition): {
  readonly transformer: Source;
  /** Everything but the transformer. */
  readonly rest: Source;
} {
  return {
    transformer: { repository: transformerRepository, model: id },
    rest: { repository, model: id },
  };
}

interface Part<Config> {
  readonly name: string;
  readonly stem: string;
  readonly parse: (json: unknown, file: string) => Config;
  readonly expected: (config: Config) => Map<string, readonly number[]>;
}

/** The parts that have weights. */
export const parts: {
  readonly textEncoder: Part<TextEncoderConfig>;
  readonly transformer: Part<TransformerConfig>;
  readonly vae: Part<VaeConfig>;
} = {
  textEncoder: {
    name: "text_encoder",
    stem: "model",
    parse: parseTextEncoderConfig,
    expected: textEncoderWeights,
  },
  transformer: {
    name: "transformer",
    stem: "diffusion_pytorch_model",
    parse: parseTransformerConfig,
    expected: transformerWeights,
  },
  vae: {
    name: "vae",
    stem: "diffusion_pytorch_model",
    parse: parseVaeConfig,
    expected: vaeWeights,
  },
};

/** Finds and checks one part. @throws InputError naming the file and the repository */
export async function openPart<Config>(
  folder: string,
  source: Source,
  { name, stem, parse, expected }: Part<Config>,
): Promise<Component<Config>> {
  const configFile = join(folder, name, "config.json");
  const config = parse(await readJson(configFile, source), configFile);
  const weights = await openComponent(join(folder, name), stem, source);
  const needed = expected(config);
  requireWeights(weights, needed, `${name}/ of ${source.repository}`);
  return { name, config, weights, lookup: lookupIn(name, weights) };
}

function lookupIn(name: string, weights: ReadonlyMap<string, WeightSpan>): WeightLookup {
  return (tensor) => {
    const span = weights.get(tensor);
    // Weights were checked against the configuration: this is a graph asking for what it didn't declare.
    if (span === undefined) throw new RangeError(`${name} has no tensor ${tensor}`);
    return span;
  };
}

/** Shift of the schedule that a repository's scheduler/ holds. */
export async function readShift(folder: string, source: Source): Promise<number> {
  const file = join(folder, "scheduler", "scheduler_config.json");
  return parseSchedulerConfig(await readJson(file, source), file).shift;
}
