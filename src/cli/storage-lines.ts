import type { Device, Storage } from "../config/model-options.ts";
import type { Settings } from "../config/settings.ts";
import { InputError } from "../errors.ts";
import { sizeText } from "../files/space.ts";
import type { StorageChoice } from "../pipeline/choose-storage.ts";
import { chooseStorage, storageBytes } from "../pipeline/choose-storage.ts";
import type { Components } from "../pipeline/components.ts";
import { storageNeed } from "../pipeline/storage-need.ts";
import type { HeldStorage } from "../pipeline/weight-forms.ts";
import { storageDeviceOf } from "../pipeline/weight-forms.ts";
import type { Machine } from "./machine.ts";

/** How a device would hold a model's weights. */
export interface DeviceStorage {
  readonly device: Device;
  readonly choice: StorageChoice | null;
  /** Why it can't hold them; null: it can. */
  readonly problem: string | null;
  readonly memoryBytes: number | null;
  /** Bytes for 1024x1024 in each storage. */
  readonly needs: Readonly<Record<Exclude<HeldStorage, "original">, number>>;
}

/**
 * Of each device but the CPU that works, by the model's headers: nothing is loaded or made.
 *
 * @param server its storage and whether it keeps networks open count, as far as they can be used
 */
export function deviceStorages(
  components: Components,
  devices: Machine["devices"],
  server: Settings | InputError,
): DeviceStorage[] {
  const isUsable = !(server instanceof InputError);
  const asked: Storage = isUsable ? server.storage : "auto";
  return devices.flatMap(({ name, facts, problem: broken }): DeviceStorage[] => {
    if (name === "cpu" || facts === null || broken !== null) return [];
    const device = storageDeviceOf(name, facts);
    const need = storageNeed(components, device, isUsable && server.keepOpen);
    const needs = {
      f16: storageBytes(need, "f16"),
      f32: storageBytes(need, "f32"),
      int8: storageBytes(need, "int8"),
    };
    const known = { device: name, memoryBytes: device.memoryBytes, needs };
    try {
      return [{ ...known, choice: chooseStorage(asked, need, device), problem: null }];
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      return [{ ...known, choice: null, problem: error.message }];
    }
  });
}

export function storageLine({ device, choice, problem, needs }: DeviceStorage): string {
  const label = `  ${device.padEnd(13)}`;
  if (choice === null) return `${label} ${problem}\n`;
  const { storage, needBytes, memoryBytes, reason } = choice;
  const memory = memoryBytes === null ? "" : ` of ${sizeText(memoryBytes)}`;
  const why = memoryBytes === null ? ` (${reason})` : "";
  const others = (["f16", "int8"] as const)
    .filter((other) => other !== storage)
    .map((other) => `${other} ${sizeText(needs[other])}`);
  return `${label} needs ${sizeText(needBytes)}${memory} at 1024x1024 with storage ${storage}${why}; ${others.join(", ")}\n`;
}

export function storageJson({ device, choice, problem, memoryBytes, needs }: DeviceStorage) {
  return {
    device,
    storage: choice?.storage ?? null,
    reason: choice?.reason ?? null,
    problem,
    need_bytes: choice?.needBytes ?? null,
    memory_bytes: memoryBytes,
    needs_bytes: needs,
  };
}
