import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { GenerateRequest } from "../src/job/request.ts";
import { generateRequestSchema } from "../src/job/request.ts";

/** Files that the reference wrote; `manifest.json` says with which versions and tolerances. */
export const goldenFolder: string = fileURLToPath(new URL("golden", import.meta.url));

export function readGolden<T>(name: string): T {
  return JSON.parse(readFileSync(join(goldenFolder, name), "utf8"));
}

/** A request as the reference's scripts write it. */
export interface GoldenRequest {
  prompt: string;
  neg: string;
  seed: number;
  steps: number;
  guidance: number;
  width: number;
  height: number;
}

/** The same for us. Pictures this small are below the schema's bounds: only the goldens have them. */
export function requestFor(
  golden: GoldenRequest,
  rest: Pick<GenerateRequest, "profile" | "loras">,
): GenerateRequest {
  const { prompt, neg, seed, steps, guidance, width, height } = golden;
  return {
    ...generateRequestSchema.parse({ prompt }),
    negativePrompt: neg,
    seed: BigInt(seed),
    steps,
    guidanceScale: guidance,
    width,
    height,
    ...rest,
  };
}
