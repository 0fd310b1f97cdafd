import { InputError } from "../errors.ts";
import { fileNameOf } from "../tools/exported.ts";
import type { BaseModel } from "./base-model.ts";
import type { JobConfig } from "./job-config.ts";
import { roundingOf } from "./rounding-of.ts";
import { sampleAt } from "./sample-at.ts";
import { trainerSamples } from "./samples.ts";
import type { StatedRequest } from "./stated-request.ts";

/**
 * The request in a sample of a training job's configuration: what the newest trainer draws at the job's end.
 * The era is the LoRA's, which only its file tells.
 *
 * @param sample its number; undefined: the first
 * @param file for messages
 * @throws InputError if the trainer could not have drawn the sample
 */
export function stateSample(
  config: JobConfig,
  model: BaseModel,
  sample: number | undefined,
  file: string,
): StatedRequest {
  const drawn = trainerSamples(config, config.sample, "filled");
  const { index, warnings } = sampleAt(sample, drawn.length, "samples");
  const found = drawn[index]!;
  if ("fault" in found) {
    throw new InputError(`${file}: the trainer can't draw sample ${index}: ${found.fault}.`);
  }
  const { multiplier, seed, ...request } = found;
  const name = fileNameOf(`${config.name}.safetensors`);
  const { rounding } = roundingOf(
    config,
    model.id,
    { version: null, embedders: null },
    { asTrained: true },
  );
  return {
    source: `sample ${index} of the job ${config.name}`,
    model: model.id,
    request: { ...request, seed: seed === "random" ? -1n : seed, profile: "preview" },
    // The trainer skips a LoRA at 0.
    loras: multiplier === 0 ? [] : [{ name, multiplier, sha256: null, file: null }],
    asTrained: rounding,
    tool: null,
    warnings: [
      ...warnings,
      ...(model.guess === null ? [] : [`The model is taken for ${model.id}: ${model.guess}.`]),
      ...(seed === "random"
        ? ["The trainer drew the sample's seed: no picture has it again."]
        : []),
      ...(config.cachesPrompts
        ? [
            "The job cached its prompts: before ai-toolkit 0.10.28 they were encoded without the trigger word.",
          ]
        : []),
    ],
  };
}
