import type { Device, Storage } from "../config/model-options.ts";
import { InputError } from "../errors.ts";
import { sizeText } from "../files/space.ts";
import type { StorageNeed } from "./storage-need.ts";
import type { HeldStorage, StorageDevice } from "./weight-forms.ts";

/** How weights are held on a device, and why. */
export interface StorageChoice {
  readonly device: Device;
  readonly storage: HeldStorage;
  readonly reason: string;
  /** Why the device that `auto` took does not hold the model; null: it does, or it was named. */
  readonly insteadOf: string | null;
  /** Bytes on the device for a picture of 1024x1024. */
  readonly needBytes: number;
  readonly memoryBytes: number | null;
  /** The text encoder is there too; otherwise it runs on the CPU. */
  readonly textOnDevice: boolean;
}

/** What the system and other programs hold of a device's memory. */
const spareBytes = 0.5e9;

/**
 * The storage that was asked for, or for `auto` the first that the device can take and that
 * leaves room for a picture of 1024x1024: as stored, f16, 8 bits.
 *
 * @throws InputError saying what is in the way, with numbers, and what to ask for instead
 */
export function chooseStorage(
  asked: Storage,
  need: StorageNeed,
  device: StorageDevice,
): StorageChoice {
  if (asked === "auto") return chooseFor(need, device);
  const problem = problemOf(asked, need, device) ?? tooLarge(asked, need, device);
  if (problem !== null) {
    throw new InputError(
      `storage ${asked} on ${device.device}: ${problem}. ${wayOut(asked, need, device)}`,
    );
  }
  const bytes = storageBytes(need, asked);
  const tight =
    fits(bytes, device) || device.device === "cpu"
      ? ""
      : `; smaller pictures fit, 1024x1024 needs ${ofMemory(bytes, device)}`;
  return choice(asked, `it was asked for${tight}`, need, device);
}

function chooseFor(need: StorageNeed, device: StorageDevice): StorageChoice {
  const name = device.device;
  if (name === "cpu") return choice("original", "the CPU takes weights as stored", need, device);
  const possible = wishes(need, device).filter((held) => problemOf(held, need, device) === null);
  const [first] = possible;
  if (device.memoryBytes === null && first !== undefined) {
    const unknown = `${name} doesn't say how much memory it has`;
    return name === "cuda" || need.inBlocks !== null
      ? choice(first, `${unknown}, and the weights can be used as stored`, need, device)
      : choice(possible.at(-1)!, `${unknown}, and this needs least`, need, device);
  }
  const over: string[] = [];
  for (const held of possible) {
    const bytes = storageBytes(need, held);
    if (fits(bytes, device)) {
      const others = over.length === 0 ? "" : `, ${over.join(", ")}`;
      return choice(held, `it needs ${ofMemory(bytes, device)}${others}`, need, device);
    }
    over.push(`${held} ${sizeText(bytes)}`);
  }
  const why =
    over.length === 0
      ? wishes(need, device)
          .map((held) => `${held}: ${problemOf(held, need, device)}`)
          .join("; ")
      : `1024x1024 needs ${over.join(", ")}, and it has ${sizeText(device.memoryBytes ?? 0)}, of which ` +
        `${sizeText(spareBytes)} are others'`;
  throw new InputError(
    `the model doesn't fit on ${name}: ${why}. Take a GGUF file of fewer bits (--transformer, RETAKE_TRANSFORMERS), ` +
      "for smaller pictures name a storage yourself (--storage, RETAKE_STORAGE), or use --device cpu.",
  );
}

/** What `auto` tries, best first. */
function wishes({ inBlocks }: StorageNeed, { device, hasF16 }: StorageDevice): HeldStorage[] {
  if (inBlocks !== null) return ["original"];
  if (device === "cuda") return ["original", "int8"];
  return ["original", hasF16 ? "f16" : "f32", "int8"];
}

/** What stands in a storage's way, but for memory. */
function problemOf(
  storage: HeldStorage,
  { inBlocks, isReadable, transformer }: StorageNeed,
  { device, hasF16, maxBufferBytes }: StorageDevice,
): string | null {
  if (inBlocks !== null && storage !== "original")
    return `${inBlocks}, and its blocks stay as they are`;
  if (storage === "original" && !isReadable)
    return "it can't read the dtype that the file's matrices have";
  if (storage === "f16" && !hasF16 && device !== "cpu" && device !== "cuda") return "it has no f16";
  const { largest } = transformer[storage];
  if (maxBufferBytes !== null && largest > maxBufferBytes)
    return `its largest matrix has ${largest} bytes, and the device takes ${maxBufferBytes} at once`;
  return null;
}

/** Weights alone that are more than the memory. */
function tooLarge(
  storage: HeldStorage,
  { transformer, vae, keepOpen }: StorageNeed,
  device: StorageDevice,
): string | null {
  if (device.device === "cpu") return null;
  const weights = transformer[storage].bytes + (keepOpen ? vae : 0);
  return fits(weights, device)
    ? null
    : `the weights need ${ofMemory(weights, device)}, of which ${sizeText(spareBytes)} are others'`;
}

function wayOut(storage: HeldStorage, need: StorageNeed, device: StorageDevice): string {
  if (need.inBlocks !== null && storage !== "original")
    return "Leave --storage (RETAKE_STORAGE) away, or name a file in bf16, f16, f32 or fp8.";
  const others = (["original", "f16", "f32", "int8"] as const).filter(
    (held) => problemOf(held, need, device) === null && tooLarge(held, need, device) === null,
  );
  return others.length === 0
    ? "Take a GGUF file of fewer bits (--transformer, RETAKE_TRANSFORMERS), or use --device cpu."
    : `Ask for --storage auto or ${others.join(" or ")} (RETAKE_STORAGE), or use --device cpu.`;
}

function choice(
  storage: HeldStorage,
  reason: string,
  need: StorageNeed,
  device: StorageDevice,
): StorageChoice {
  return {
    device: device.device,
    storage,
    reason,
    insteadOf: null,
    needBytes: storageBytes(need, storage),
    memoryBytes: device.memoryBytes,
    textOnDevice: textFits(storage, need, device),
  };
}

/** It works once for a prompt, so it goes where it needs no room of others'. */
function textFits(
  storage: HeldStorage,
  { textEncoder, ...need }: StorageNeed,
  device: StorageDevice,
): boolean {
  if (device.device === "cpu" || textEncoder === null) return false;
  if (device.memoryBytes === null) return device.device === "cuda";
  const others = need.keepOpen ? storageBytes({ ...need, textEncoder }, storage) : 0;
  return fits(textEncoder + others, device);
}

/** Bytes on a device for a picture of 1024x1024. */
export function storageBytes(
  { transformer, vae, lora, step, decode, keepOpen }: StorageNeed,
  storage: HeldStorage,
): number {
  const denoising = transformer[storage].bytes + lora;
  return keepOpen
    ? denoising + vae + Math.max(step, decode)
    : Math.max(denoising + step, vae + decode);
}

function fits(bytes: number, { memoryBytes }: StorageDevice): boolean {
  return memoryBytes === null || bytes + spareBytes <= memoryBytes;
}

function ofMemory(bytes: number, { memoryBytes }: StorageDevice): string {
  const all = memoryBytes === null ? "" : ` of ${sizeText(memoryBytes)}`;
  return `${sizeText(bytes)}${all}`;
}
