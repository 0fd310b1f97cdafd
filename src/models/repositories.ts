import type { ModelDefinition } from "./registry.ts";

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
