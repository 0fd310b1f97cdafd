import { InputError } from "../errors.ts";
import { defaultPixels } from "../job/request.ts";

/** A model that can be asked for by its id: where its parts lie and what it does when nothing is said. */
export interface ModelDefinition {
  readonly id: string;
  /** Hub repository with `tokenizer/`, `text_encoder/`, `vae/` and `scheduler/`. */
  readonly repository: string;
  /** Hub repository with `transformer/`. */
  readonly transformerRepository: string;
  /** Shift of the FlowMatchEuler schedule, or that the repository's `scheduler/` decides. */
  readonly shift: number | "repository";
  readonly steps: number;
  readonly guidanceScale: number;
  readonly width: number;
  readonly height: number;
  readonly requiresControlImage: boolean;
  readonly isVideoModel: boolean;
  /** What the trainer's page has the model trained with, oldest first; previews of quantised jobs need it. */
  readonly trainingAdapter: {
    readonly repository: string;
    readonly files: readonly string[];
  } | null;
}

/** Z-Image, the base model. Its repository says shift 6.0; training previews and the reference server use 3.0. */
const zimage: ModelDefinition = {
  id: "zimage",
  repository: "Tongyi-MAI/Z-Image",
  transformerRepository: "Tongyi-MAI/Z-Image",
  shift: 3,
  steps: 30,
  guidanceScale: 4,
  width: defaultPixels,
  height: defaultPixels,
  requiresControlImage: false,
  isVideoModel: false,
  trainingAdapter: null,
};

/** Z-Image Turbo. The reference server leaves this repository's own scheduler in place. */
const zimageTurbo: ModelDefinition = {
  id: "zimage_turbo",
  repository: "Tongyi-MAI/Z-Image-Turbo",
  transformerRepository: "Tongyi-MAI/Z-Image-Turbo",
  shift: "repository",
  steps: 8,
  guidanceScale: 1,
  width: defaultPixels,
  height: defaultPixels,
  requiresControlImage: false,
  isVideoModel: false,
  trainingAdapter: {
    repository: "ostris/zimage_turbo_training_adapter",
    files: [
      "zimage_turbo_training_adapter_v1.safetensors",
      "zimage_turbo_training_adapter_v2.safetensors",
    ],
  },
};

/** Z-Image De-Turbo: a transformer of its own; everything else is Turbo's. */
const zimageDeturbo: ModelDefinition = {
  id: "zimage_deturbo",
  repository: "Tongyi-MAI/Z-Image-Turbo",
  transformerRepository: "ostris/Z-Image-De-Turbo",
  shift: 3,
  steps: 25,
  guidanceScale: 3,
  width: defaultPixels,
  height: defaultPixels,
  requiresControlImage: false,
  isVideoModel: false,
  trainingAdapter: null,
};

/** In the order in which the reference server lists them. */
export const models: readonly ModelDefinition[] = [zimage, zimageTurbo, zimageDeturbo];

/** @throws InputError listing the ids there are; ids are case-sensitive. */
export function modelById(id: string): ModelDefinition {
  const model = models.find((candidate) => candidate.id === id);
  if (model === undefined) {
    throw new InputError(
      `model "${id}" is not known. The models are ${models.map((known) => known.id).join(", ")}.`,
    );
  }
  return model;
}

/** What of a hub repository some models need. */
export interface NeededRepository {
  readonly repository: string;
  readonly folders: readonly string[];
  readonly files: readonly string[];
}

const restFolders = ["tokenizer", "text_encoder", "vae", "scheduler"];

/** What models need, each repository once. */
export function repositoriesOf(models: readonly ModelDefinition[]): NeededRepository[] {
  const needed = new Map<string, { folders: Set<string>; files: Set<string> }>();
  const of = (repository: string) => {
    const known = needed.get(repository) ?? { folders: new Set(), files: new Set() };
    needed.set(repository, known);
    return known;
  };
  for (const { repository, transformerRepository } of models) {
    const rest = of(repository);
    for (const folder of restFolders) rest.folders.add(folder);
    // Retake does not read it; diffusers does, which shares the cache.
    rest.files.add("model_index.json");
    of(transformerRepository).folders.add("transformer");
  }
  return [...needed].map(([repository, { folders, files }]) => ({
    repository,
    folders: [...folders],
    files: [...files],
  }));
}

/** What models are trained with beside their own parts, each repository once. */
export function adaptersOf(models: readonly ModelDefinition[]): NeededRepository[] {
  const needed = new Map<string, NeededRepository>();
  for (const { trainingAdapter } of models) {
    if (trainingAdapter === null) continue;
    needed.set(trainingAdapter.repository, { ...trainingAdapter, folders: [] });
  }
  return [...needed.values()];
}
