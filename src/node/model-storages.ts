import type { Settings } from "../config/settings.ts";
import { InputError } from "../errors.ts";
import { withoutPaths } from "../files/without-paths.ts";
import type { ModelDefinition } from "../models/registry.ts";
import type { ModelWeights } from "../pipeline/components.ts";
import { openWeights } from "../pipeline/components.ts";
import { sourcesIdentity } from "../pipeline/fingerprint.ts";
import { placeModel } from "../pipeline/place-model.ts";
import type { NodeDevice } from "./node-devices.ts";

/** How the weights of a model are held on a device of this node. */
export interface ModelStorage {
  readonly model: string;
  readonly device: string;
  /** null: it can't hold them, or the model is not here. */
  readonly storage: string | null;
  readonly reason: string;
}

type StorageSettings = Pick<
  Settings,
  "weights" | "transformers" | "storage" | "cacheFolder" | "keepOpen"
>;

/**
 * How each model would be held on each device that is known by now. By headers alone, which are read
 * again only when a file has changed.
 */
export function modelStorages(
  { weights, transformers, storage, cacheFolder, keepOpen }: StorageSettings,
  devices: readonly NodeDevice[],
): (model: ModelDefinition) => Promise<ModelStorage[]> {
  const outlines = new Map<string, { identity: string; outline: ModelWeights }>();
  const outlineOf = async (model: ModelDefinition): Promise<ModelWeights> => {
    const transformer = Object.hasOwn(transformers, model.id) ? transformers[model.id] : undefined;
    const identity = await sourcesIdentity(weights, model, transformer);
    const known = outlines.get(model.id);
    if (known?.identity === identity) return known.outline;
    const own = transformer === undefined ? {} : { transformer };
    const outline = await openWeights(weights, model, { cacheFolder, outline: true, ...own });
    outlines.set(model.id, { identity, outline });
    return outline;
  };
  const storageOn = async (
    model: ModelDefinition,
    { name, facts, reason }: NodeDevice,
  ): Promise<ModelStorage[]> => {
    if (facts === null) return [];
    try {
      const chosen = { device: name, facts, reason, warning: null };
      const place = await placeModel(await outlineOf(model), storage, keepOpen, chosen);
      const { insteadOf, ...choice } = place.storage;
      const why = withoutPaths(insteadOf ?? choice.reason);
      return [{ model: model.id, device: choice.device, storage: choice.storage, reason: why }];
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      return [
        { model: model.id, device: name, storage: null, reason: withoutPaths(error.message) },
      ];
    }
  };
  return async (model) => {
    const each = [...new Map(devices.map((device) => [device.name, device])).values()];
    return (await Promise.all(each.map((device) => storageOn(model, device)))).flat();
  };
}
