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
 * The VAE's last level needs most. Measured in f32, all of the process: 1.2 GB for
 * the real VAE at 512x512, 3.4 GB at 1024x1024, and 0.9 GB for the demonstration at
 * 1024x1024. This gives 1.4, 4.6 and 0.8 GB: rather too much where it counts.
 */
const bytesPerPixelAndChannel = 16;

export function memoryNeed(components: Components): MemoryNeed {
  const { textEncoder, transformer, vae } = components;
  const sizes = [textEncoder, transformer, vae].map(({ weights }) =>
    [...weights.values()].reduce((sum, { byteLength }) => sum + byteLength, 0),
  );
  return {
    weightBytes: weightBytes(components),
    largestBytes: Math.max(...sizes),
    workingBytes: baseBytes + decodeBytes(vae.config),
  };
}

/** What the VAE's decoder computes with. */
export function decodeBytes({ channels }: VaeConfig): number {
  return bytesPerPixelAndChannel * (channels[1] ?? channels[0] ?? 0) * pixels;
}

export function memoryFit(
  { weightBytes: all, largestBytes, workingBytes }: MemoryNeed,
  available: number,
): MemoryFit {
  if (workingBytes > available) return "too little";
  if (workingBytes + largestBytes > available) return "slow";
  return workingBytes + all > available ? "one network at a time" : "fits";
}
