import type { GenerateRequest } from "../job/request.ts";
import type { Schedule } from "../sampler/schedule.ts";
import { version } from "../version.ts";
import type { EffectiveAnswer } from "../wire/answers.ts";
import { rawJson } from "../wire/python-json.ts";
import type { Components } from "./components.ts";
import type { Effective } from "./effective.ts";
import type { LoadedLora } from "./loaded-lora.ts";

/** What the API answers as `effective`, without what the worker adds; the seed is a piece of JSON. */
type Description = Required<Omit<EffectiveAnswer, "seed" | "weights" | "warnings">> & {
  readonly seed: object;
};

/**
 * All that decided how a picture looks, as it is written into the picture and
 * printed with `--json`: what a person compares when two pictures differ.
 */
export function describeResult(
  { model, transformer }: Components,
  request: GenerateRequest,
  {
    effective,
    schedule,
    prompt,
    loras,
  }: {
    readonly effective: Effective;
    readonly schedule: Schedule;
    /** After its trigger word was filled in. */
    readonly prompt: string;
    readonly loras: readonly LoadedLora[];
  },
): Description {
  return {
    software: `retake ${version}`,
    model: model.id,
    /** The file that took the place of the model's own transformer, and how its weights are stored. */
    transformer: { file: transformer.fileName, quantization: transformer.quantization },
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
    seed: rawJson(String(effective.seed)),
    schedule: effective.profile.schedule,
    sigmas: Array.from(schedule.sigmas),
    loras: loras.map(({ sha256, file }, i) => ({
      sha256,
      name: file.info.outputName,
      network_multiplier: request.loras[i]!.multiplier,
    })),
  };
}
