import { existsSync } from "node:fs";
import { join } from "node:path";
import { InputError, MissingFileError } from "../errors.ts";
import type { ModelDefinition } from "../models/registry.ts";
import type { WeightSpan } from "../onnx/graph.ts";
import type { Tokenizer } from "../prompt/tokenizer.ts";
import { loadTokenizer } from "../prompt/tokenizer.ts";
import type { TransformerConfig } from "../transformer/config.ts";
import { repositoryFolder, type Source } from "../weights/store.ts";
import { openPart, parts, readShift, sourcesOf } from "./components.ts";

/** What a look at headers, shapes, spans and sizes tells of a part of a model. */
export interface ComponentReport {
  readonly name: string;
  readonly repository: string;
  /** missing: nothing of it; incomplete: files are missing; damaged: a file is not what it should be. */
  readonly state: "there" | "missing" | "incomplete" | "damaged";
  /** Its repository's folder; undefined if that is not there. */
  readonly folder: string | undefined;
  /** Of its weights, as stored. */
  readonly bytes: number;
  /** Its weights, where they can be read. */
  readonly weights: ReadonlyMap<string, WeightSpan>;
  /** What is wrong and what to do; null if all is well. */
  readonly problem: string | null;
}

export interface ModelReport {
  readonly model: string;
  readonly components: readonly ComponentReport[];
  /** What of its parts needs no weights in memory; null where the part can't be used. */
  readonly tokenizer: Tokenizer | null;
  readonly transformer: TransformerConfig | null;
  /** Shift of its schedule. */
  readonly shift: number | null;
}

/** Looks at each part of a model by itself: none hides another. */
export async function inspectModel(weights: string, model: ModelDefinition): Promise<ModelReport> {
  const { rest, transformer } = sourcesOf(model);
  const look = (source: Source, name: string, open: Open) => inspect(weights, source, name, open);
  const found: {
    -readonly [Part in "tokenizer" | "transformer" | "shift"]: ModelReport[Part];
  } = {
    tokenizer: null,
    transformer: null,
    shift: model.shift === "repository" ? null : model.shift,
  };
  const components = [
    await look(rest, "tokenizer", async (folder) => {
      found.tokenizer = await loadTokenizer(join(folder, "tokenizer"), rest);
      return noWeights;
    }),
    await look(rest, "text_encoder", (folder) => openPart(folder, rest, parts.textEncoder)),
    await look(transformer, "transformer", async (folder) => {
      const part = await openPart(folder, transformer, parts.transformer);
      found.transformer = part.config;
      return part;
    }),
    await look(rest, "vae", (folder) => openPart(folder, rest, parts.vae)),
  ];
  if (model.shift === "repository") {
    components.push(
      await look(rest, "scheduler", async (folder) => {
        found.shift = await readShift(folder, rest);
        return noWeights;
      }),
    );
  }
  return { model: model.id, components, ...found };
}

interface Weighty {
  readonly weights: ReadonlyMap<string, WeightSpan>;
}

type Open = (folder: string) => Promise<Weighty>;

const noWeights: Weighty = { weights: new Map() };

async function inspect(
  weights: string,
  source: Source,
  name: string,
  open: Open,
): Promise<ComponentReport> {
  const none = { name, repository: source.repository, bytes: 0 };
  let folder: string | undefined;
  try {
    folder = await repositoryFolder(weights, source);
    const { weights: tensors } = await open(folder);
    let bytes = 0;
    for (const { byteLength } of tensors.values()) bytes += byteLength;
    return { ...none, folder, state: "there", bytes, weights: tensors, problem: null };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    const state =
      folder === undefined || !existsSync(join(folder, name))
        ? "missing"
        : error instanceof MissingFileError
          ? "incomplete"
          : "damaged";
    return { ...none, ...noWeights, folder, state, problem: error.message };
  }
}
