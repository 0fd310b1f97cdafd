import type { Device, Storage } from "../config/model-options.ts";
import type { VaeConfig } from "../vae/config.ts";
import type { Components } from "./components.ts";
import { bytesOf } from "./fingerprint.ts";
import type { StorageDevice } from "./weight-forms.ts";
import { formBytes, weightForms } from "./weight-forms.ts";

export interface MemoryNeed {
  /** Of all weights that are mapped, so the system may drop them and read them again. */
  readonly weightBytes: number;
  /** Of the transformer's among them: they are read in every step. */
  readonly largestBytes: number;
  /** What must be there besides, for a picture of 1024x1024 on the CPU; matrices in blocks are, as they are packed. */
  readonly workingBytes: number;
}

/** How a need meets a machine's memory, best first. */
export type MemoryFit = "fits" | "one network at a time" | "slow" | "too little";

const processor: StorageDevice = {
  device: "cpu",
  memoryBytes: null,
  hasF16: true,
  maxBufferBytes: null,
};
const pixels = 1024 * 1024;
/** Node, the runtime and graphs. */
const baseBytes = 300e6;
/**
 * Of the VAE's last level, which needs most: 4 for each copy of what its first block reads. In bands
 * it is little more than one copy and what the system's allocator leaves between them. Measured on
 * the CPU, all of the process: 2.6 GB for the real VAE at 1024x1024, 0.65 GB for the demonstration's.
 * This gives 2.7 and 0.6 GB. In one run, as on CUDA, it is three copies and more.
 */
const bytesPerPixelAndChannel = { inBands: 9, inOneRun: 16 };

/** @param storage of the transformer's weights, as it is asked for */
export function memoryNeed(components: Components, storage: Storage): MemoryNeed {
  const { textEncoder, transformer, vae } = components;
  const held = storage === "auto" ? "original" : storage;
  let packed = 0;
  let largestBytes = 0;
  for (const [name, form] of weightForms(transformer, held, processor)) {
    const span = transformer.weights.get(name)!;
    const bytes = formBytes(span, form);
    if (form === "int8" || span.blocks !== undefined) packed += bytes;
    else largestBytes += bytes;
  }
  const others = [textEncoder, vae].flatMap(({ weights }) => [...weights.values()]);
  return {
    weightBytes: others.reduce((sum, span) => sum + bytesOf(span), largestBytes),
    largestBytes,
    workingBytes: baseBytes + decodeBytes(vae.config, "cpu") + packed,
  };
}

/** What the VAE's decoder computes with, for a picture of 1024x1024. */
export function decodeBytes({ channels }: VaeConfig, device: Device): number {
  const { inBands, inOneRun } = bytesPerPixelAndChannel;
  const bytes = device === "cpu" || device === "webgpu" ? inBands : inOneRun;
  return bytes * (channels[1] ?? channels[0] ?? 0) * pixels;
}

export function memoryFit(
  { weightBytes: all, largestBytes, workingBytes }: MemoryNeed,
  available: number,
): MemoryFit {
  if (workingBytes > available) return "too little";
  if (workingBytes + largestBytes > available) return "slow";
  return workingBytes + all > available ? "one network at a time" : "fits";
}
