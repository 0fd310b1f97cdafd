import { InputError } from "../errors.ts";
import type { ModelDefinition } from "./model.ts";
import { zimage } from "./zimage.ts";
import { zimageDeturbo } from "./zimage-deturbo.ts";
import { zimageTurbo } from "./zimage-turbo.ts";

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
