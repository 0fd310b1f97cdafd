import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { dtypeBytes } from "../src/tensor/dtype.ts";
import { writeSafetensors } from "../src/weights/write-safetensors.ts";

// Job folders that ai-toolkit wrote, without pictures and weights: reference/job_plans.py made the files.

const plans = join(import.meta.dirname, "jobs", "plans");

const schema = z.object({
  config: z.string(),
  loras: z.array(
    z.object({
      file: z.string(),
      metadata: z.record(z.string(), z.string()),
      dtypes: z.array(z.enum(["F32", "BF16", "F16"])),
    }),
  ),
  samples: z.array(z.string()),
  thumbnails: z.array(z.string()),
  /** What the trainer's pipeline was handed for each picture. */
  truth: z.array(
    z.object({
      file: z.string(),
      prompt: z.string(),
      negative: z.string(),
      width: z.int(),
      height: z.int(),
      steps: z.int(),
      updates: z.int(),
      seed: z.int(),
      multiplier: z.number(),
      guidance: z.number(),
      /** The guidance after the trainer's arithmetic. */
      handed: z.number(),
    }),
  ),
});
export type PlannedJob = z.output<typeof schema>;

export const plannedJobs: readonly string[] = readdirSync(plans).map((name) =>
  name.replace(/\.json$/, ""),
);

export function plannedJob(name: string): PlannedJob {
  return schema.parse(JSON.parse(readFileSync(join(plans, `${name}.json`), "utf8")));
}

/** Writes the folder with empty pictures, and LoRAs of one module. */
export async function writePlannedJob({
  config,
  loras,
  samples,
  thumbnails,
}: PlannedJob): Promise<string> {
  const root = mkdtempSync(join(tmpdir(), "job-"));
  mkdirSync(join(root, "samples", ".thumbs"), { recursive: true });
  writeFileSync(join(root, "config.yaml"), config);
  for (const name of samples) writeFileSync(join(root, "samples", name), "");
  for (const name of thumbnails) writeFileSync(join(root, "samples", ".thumbs", name), "");
  for (const { file, metadata, dtypes } of loras) {
    await writeSafetensors(join(root, file), tinyLora(dtypes[0]!), metadata);
  }
  return root;
}

function tinyLora(dtype: "F32" | "BF16" | "F16") {
  const module = "diffusion_model.layers.0.attention.to_q";
  const tensor = (shape: [number, number]) => ({
    data: new Uint8Array(shape[0] * shape[1] * dtypeBytes[dtype]),
    dtype,
    shape,
  });
  return new Map([
    [`${module}.lora_A.weight`, tensor([1, 4])],
    [`${module}.lora_B.weight`, tensor([4, 1])],
  ]);
}
