import type { Device } from "../config/model-options.ts";
import type { VaeConfig } from "../vae/config.ts";
import type { Components } from "./components.ts";
import { weightBytes } from "./fingerprint.ts";

export interface MemoryNeed {
  /** Of all weights: mapped, so the system may drop them and read them again. */
  readonly weightBytes: number;
  /** Of the largest network: it is read in every step. */
  readonly largestBytes: number;
  /** What must be there besides, for a picture of 1024x1024 on the CPU. */
  readonly workingBytes: number;
}

/** How a need meets a machine's memory, best first. */
export type MemoryFit = "fits" | "one network at a time" | "slow" | "too little";

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

export function memoryNeed(components: Components): MemoryNeed {
  const { textEncoder, transformer, vae } = components;
  const sizes = [textEncoder, transformer, vae].map(({ weights }) =>
    [...weights.values()].reduce((sum, { byteLength }) => sum + byteLength, 0),
  );
  return {
    weightBytes: weightBytes(components),
    largestBytes: Math.max(...sizes),
    workingBytes: baseBytes + decodeBytes(vae.config, "cpu"),
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
