import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import type { GenerateRequest } from "../src/job/request.ts";
import { generateRequestSchema } from "../src/job/request.ts";
import type { Tolerance } from "./matchers.ts";

/** Files that the reference wrote; `manifest.json` says with which versions and tolerances. */
export const goldenFolder: string = fileURLToPath(new URL("golden", import.meta.url));

const near = { atol: z.number(), rtol: z.number() };
const manifestSchema = z.record(
  z.string(),
  z.object({
    sha256: z.string(),
    ...near,
    tensors: z.record(z.string(), z.object(near)).default({}),
  }),
);
/** Of each golden file: its hash, and how near is near enough. reference/goldens.py writes it. */
export const manifest: z.output<typeof manifestSchema> = manifestSchema.parse(
  readGolden("manifest.json"),
);

/** How near to a golden file's tensor ours must be; rtol is of its largest value. */
export function toleranceOf(file: string, tensor: string): Tolerance {
  const entry = manifest[file];
  if (entry === undefined) throw new Error(`${file} is not in the manifest of golden files`);
  const own = entry.tensors[tensor] ?? entry.tensors[tensor.slice(tensor.lastIndexOf(".") + 1)];
  const { atol, rtol } = own ?? entry;
  return { atol, rtol, of: "scale" };
}

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
