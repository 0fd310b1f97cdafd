import type { PictureJob, RetakeOptions } from "../job/job.ts";
import { chooseSeed, seedToText } from "../job/seed.ts";
import type { PreviewRequest } from "./preview-request.ts";
import type { InferenceRequest } from "./request.ts";

/**
 * What the workers get of a request: the reference's rules for what is left
 * out, seeds drawn, and neither tokens nor fields that Z-Image ignores.
 */
export function jobFromRequest(id: string, request: InferenceRequest): PictureJob {
  return {
    kind: "pictures",
    id,
    model: request.model,
    loras: request.loras.map(({ path, network_multiplier }) => ({
      path,
      multiplier: network_multiplier ?? 1,
    })),
    prompts: request.prompts.map((prompt, index) => ({
      prompt: prompt.prompt,
      negativePrompt: prompt.neg ?? "",
      triggerWord: wordOf(prompt.trigger_word) ?? wordOf(request.trigger_word),
      width: numberOrNull(prompt.width),
      height: numberOrNull(prompt.height),
      steps: numberOrNull(prompt.sample_steps),
      guidanceScale: prompt.guidance_scale,
      seed: seedToText(chooseSeed(prompt.seed, index)),
    })),
    asTrained: request.as_trained ?? false,
    profile: request.profile ?? "reference",
    format: request.output_format ?? "jpeg",
    previewEvery: numberOrNull(request.preview_every),
  };
}

/** An empty list asks for nothing in particular. */
export function retakeOptionsOf(body: PreviewRequest): RetakeOptions {
  const { steps, samples, era, as_trained: asTrained } = body;
  return {
    ...(steps === null || steps.length === 0 ? {} : { steps: steps.map(Number) }),
    ...(samples === null || samples.length === 0 ? {} : { samples: samples.map(Number) }),
    ...(era === null ? {} : { era }),
    ...(asTrained === null ? {} : { asTrained }),
  };
}

/** An empty word is none, as in the reference. */
function wordOf(word: string | null): string | null {
  return word === "" ? null : word;
}

/** The bounds of these fields are far below 2^53. */
function numberOrNull(value: bigint | null): number | null {
  return value === null ? null : Number(value);
}
