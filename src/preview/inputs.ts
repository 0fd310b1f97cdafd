import { createHash } from "node:crypto";
import { hashFile } from "../files/hash.ts";
import type { WeightsFingerprint } from "../pipeline/fingerprint.ts";
import { version } from "../version.ts";
import type { PlannedSample, Reading } from "./plan.ts";

/** Names what pictures are made from, so that one that is there need not be made again. */
export interface Inputs {
  /** Hashes the picture's preview, its LoRA, and the ways in which it is drawn. */
  of(sample: PlannedSample, readings: readonly Reading[]): Promise<string>;
}

/** @param weights that are drawn with; null: nothing is drawn */
export function openInputs(weights: WeightsFingerprint | null, signal?: AbortSignal): Inputs {
  const hashes = new Map<string, Promise<string>>();
  const hashOf = (path: string): Promise<string> => {
    const known = hashes.get(path) ?? hashFile(path, "sha256", signal);
    hashes.set(path, known);
    return known;
  };
  return {
    async of({ preview, lora, model, expected }, readings) {
      const files = [preview?.path, lora?.path];
      const contents = files.map((path) => (path === undefined ? null : hashOf(path)));
      const parts = [version, model, weights, expected, await Promise.all(contents)];
      return hashText(JSON.stringify([parts, readings.map((one) => partsOf(one, lora?.path))]));
    },
  };
}

export function hashText(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** The picture's LoRA goes by its content, and JSON knows no seed. */
function partsOf({ profile, rounding, request }: Reading, own: string | undefined): unknown {
  const { loras = [], seed, ...rest } = request;
  const acting = loras.map(({ path, multiplier }) => [path === own ? null : path, multiplier]);
  return [profile, rounding, rest, String(seed), acting];
}
