import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { InputError } from "../errors.ts";
import type { Rounding } from "../job/rounding.ts";
import type { ModelDefinition } from "../models/registry.ts";
import type { WeightLookup, WeightSpan } from "../onnx/graph.ts";
import type { Tokenizer } from "../prompt/tokenizer.ts";
import { loadTokenizer } from "../prompt/tokenizer.ts";
import { parseSchedulerConfig } from "../sampler/schedule.ts";
import { stopPoint } from "../stop-point.ts";
import type { TextEncoderConfig } from "../text-encoder/config.ts";
import { parseTextEncoderConfig, textEncoderWeights } from "../text-encoder/config.ts";
import type { TransformerConfig } from "../transformer/config.ts";
import { parseTransformerConfig } from "../transformer/config.ts";
import { transformerWeights } from "../transformer/weight-shapes.ts";
import type { VaeConfig } from "../vae/config.ts";
import { parseVaeConfig, vaeWeights } from "../vae/config.ts";
import { openComponent, requireWeights } from "../weights/component.ts";
import {
  fetchAgain,
  findRepository,
  readJson,
  repositoryFolder,
  type Source,
} from "../weights/store.ts";
import type { TransformerFileOptions } from "./transformer-file.ts";
import { openTransformerFile } from "./transformer-file.ts";
import type { HeldStorage } from "./weight-forms.ts";

/** A part of a model: its configuration and where each of its weights lies. Nothing is loaded. */
export interface Component<Config> {
  readonly name: string;
  readonly config: Config;
  readonly weights: ReadonlyMap<string, WeightSpan>;
  readonly lookup: WeightLookup;
  /** The files that were named or fetched, whatever the weights were made into. */
  readonly sources: readonly string[];
  /** Name of the file that was named in place of the repository's own. */
  readonly fileName: string | null;
  /** How the weights are narrower than 16 bits, or null. */
  readonly quantization: string | null;
}

/** What is not as the repositories have it. */
export interface ComponentOptions extends TransformerFileOptions {
  /** One file to take the transformer from. */
  readonly transformer?: string;
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
  /** How they were rounded as in training; null: they are as stored. */
  readonly asTrained: {
    readonly rounding: Rounding;
    /** File of the training adapter that is part of the transformer, to be taken off beside it. */
    readonly adapter: string | null;
  } | null;
  /** How the transformer's weights are held: see `holdWeights`. */
  readonly held: {
    readonly storage: HeldStorage;
    /** Values that f16 rounded. */
    readonly rounded: number;
  };
}

/** The parts of a model that have weights. */
export type ModelWeights = Pick<Components, "textEncoder" | "transformer" | "vae">;

/**
 * Finds a model's parts in a model store and checks every header, shape and
 * span, before anything is computed.
 *
 * @param weights a folder with the hub's names, a hub cache folder, or `demo`
 * @throws InputError naming the file and the repository of what is missing or wrong
 * @throws CanceledError between two parts after the signal
 */
export async function openComponents(
  weights: string,
  model: ModelDefinition,
  options?: ComponentOptions,
): Promise<Components> {
  const own = await openWeights(weights, model, options);
  const { rest } = sourcesOf(model);
  const folder = await repositoryFolder(weights, rest);
  return {
    ...own,
    model,
    tokenizer: await loadTokenizer(join(folder, "tokenizer"), rest),
    shift: model.shift === "repository" ? await readShift(folder, rest) : model.shift,
    asTrained: null,
    held: { storage: "original", rounded: 0 },
  };
}

/** The parts that have weights, found and checked. @throws as `openComponents` */
export async function openWeights(
  weights: string,
  model: ModelDefinition,
  options?: ComponentOptions,
): Promise<ModelWeights> {
  const { rest } = sourcesOf(model);
  const signal = options?.signal;
  const folder = await repositoryFolder(weights, rest);
  const textEncoder = await openPart(folder, rest, parts.textEncoder);
  await stopPoint(signal);
  const transformer = await openTransformer(weights, model, options);
  await stopPoint(signal);
  const vae = await openPart(folder, rest, parts.vae);
  if (transformer.config.captionDim !== textEncoder.config.hiddenSize) {
    throw new InputError(
      `the transformer of ${transformer.origin} takes prompt embeds of width ` +
        `${transformer.config.captionDim}, the text encoder of ${model.repository} gives ` +
        `${textEncoder.config.hiddenSize}: they don't belong together. Fetch both again: retake pull ${model.id}.`,
    );
  }
  if (transformer.config.inChannels !== vae.config.latentChannels) {
    throw new InputError(
      `the transformer of ${transformer.origin} has ${transformer.config.inChannels} latent ` +
        `channels, the VAE of ${model.repository} ${vae.config.latentChannels}: they don't belong ` +
        `together. Fetch both again: retake pull ${model.id}.`,
    );
  }
  await stopPoint(signal);
  return { textEncoder, transformer, vae };
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

/** The transformer alone, and where it is from in words. @throws as `openComponents` */
export async function openTransformer(
  weights: string,
  model: ModelDefinition,
  options: ComponentOptions | undefined,
): Promise<Component<TransformerConfig> & { readonly origin: string }> {
  const name = "transformer";
  const source = sourcesOf(model).transformer;
  if (options?.transformer === undefined) {
    const part = await openPart(await repositoryFolder(weights, source), source, parts.transformer);
    return { ...part, origin: source.repository };
  }
  const file = options.transformer;
  const folder = await findRepository(weights, source);
  const config = folder === undefined ? undefined : join(folder, name, "config.json");
  const opened = await openTransformerFile(
    file,
    config !== undefined && existsSync(config) ? config : undefined,
    options,
  );
  return {
    ...opened,
    name,
    origin: file,
    lookup: lookupIn(name, opened.weights),
    sources: [file],
    fileName: basename(file),
  };
}

export interface Part<Config> {
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
  const config = parse(await readJson(configFile, fetchAgain(source)), configFile);
  const weights = await openComponent(join(folder, name), stem, source);
  const needed = expected(config);
  requireWeights(weights, needed, `${name}/ of ${source.repository}`);
  return {
    name,
    config,
    weights,
    lookup: lookupIn(name, weights),
    sources: [...new Set([...weights.values()].map(({ file }) => file))].toSorted(),
    fileName: null,
    quantization: null,
  };
}

/** The same part with other weights under its names. */
export function withWeights<Config>(
  part: Component<Config>,
  weights: ReadonlyMap<string, WeightSpan>,
): Component<Config> {
  return { ...part, weights, lookup: lookupIn(part.name, weights) };
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
  return parseSchedulerConfig(await readJson(file, fetchAgain(source)), file).shift;
}
