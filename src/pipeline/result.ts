import type { GenerateRequest } from "../job/request.ts";
import type { Generated } from "./generate.ts";

declare global {
  interface JSON {
    /** A piece of JSON text that `stringify` takes over as it is; TypeScript's library lacks it. */
    rawJSON(text: string): object;
  }
}

/**
 * All that decided how a picture looks, as it is written into the picture and
 * printed with `--json`: what a person compares when two pictures differ.
 */
export function describeResult(
  request: GenerateRequest,
  { effective, schedule, prompt, loras, transformer }: Generated,
  version: string,
): Record<string, unknown> {
  return {
    software: `retake ${version}`,
    model: request.model,
    /** The file that took the place of the model's own transformer, and how its weights are stored. */
    transformer,
    profile: request.profile,
    prompt,
    negative_prompt: request.negativePrompt,
    width: effective.width,
    height: effective.height,
    num_inference_steps: effective.steps,
    guidance_scale: effective.guidanceScale,
    /** neg + s·(pos - neg), as most other tools count it; 1: no guidance. */
    standard_cfg: effective.guidanceWeight + 1,
    // Seeds go up to 2^64 - 1: written digit by digit, not as a rounded number.
    seed: JSON.rawJSON(String(effective.seed)),
    schedule: effective.profile.schedule,
    sigmas: Array.from(schedule.sigmas),
    loras: loras.map(({ sha256, file }, i) => ({
      sha256,
      name: file.info.outputName,
      network_multiplier: request.loras[i]?.multiplier,
    })),
  };
}
