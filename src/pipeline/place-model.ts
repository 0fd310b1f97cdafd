import type { Storage } from "../config/model-options.ts";
import { InputError } from "../errors.ts";
import type { ChosenDevice } from "../onnx/choose-device.ts";
import { chooseDevice } from "../onnx/choose-device.ts";
import type { StorageChoice } from "./choose-storage.ts";
import { chooseStorage } from "./choose-storage.ts";
import type { ModelWeights } from "./components.ts";
import { storageNeed } from "./storage-need.ts";
import type { StorageDevice } from "./weight-forms.ts";
import { storageDeviceOf } from "./weight-forms.ts";

/** What computes a model, and how it holds the weights. */
export interface Place {
  readonly chosen: ChosenDevice;
  readonly device: StorageDevice;
  readonly storage: StorageChoice;
}

/**
 * Where a model goes, by its headers alone. Where `auto` took a device that can't hold it, it goes to
 * the CPU, which is said; a device that was named is refused.
 *
 * @param outline of the model: none of its weights is read
 * @throws InputError if the device can't hold it as asked: see `chooseStorage`
 */
export async function placeModel(
  outline: ModelWeights,
  asked: Storage,
  keepOpen: boolean,
  chosen: ChosenDevice,
): Promise<Place> {
  try {
    return placeOn(outline, asked, keepOpen, chosen);
  } catch (error) {
    if (!(error instanceof InputError) || chosen.reason === null || chosen.device === "cpu")
      throw error;
    const reason = `auto took ${chosen.device}, and ${error.message}`;
    const cpu = await chooseDevice("cpu");
    const place = placeOn(outline, asked, keepOpen, { ...cpu, reason });
    return { ...place, storage: { ...place.storage, insteadOf: reason } };
  }
}

function placeOn(
  outline: ModelWeights,
  asked: Storage,
  keepOpen: boolean,
  chosen: ChosenDevice,
): Place {
  const device = storageDeviceOf(chosen.device, chosen.facts);
  const storage = chooseStorage(asked, storageNeed(outline, device, keepOpen), device);
  return { chosen, device, storage };
}
