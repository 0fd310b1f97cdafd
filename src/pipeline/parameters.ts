import { basename } from "node:path";
import { InputError } from "../errors.ts";
import type { GenerateRequest } from "../job/request.ts";
import type { Profile } from "../models/profiles.ts";
import type { ModelDefinition } from "../models/registry.ts";
import type { Schedule } from "../sampler/schedule.ts";
import { version } from "../version.ts";
import type { EffectiveAnswer } from "../wire/answers.ts";
import { rawJson } from "../wire/python-json.ts";
import type { Components } from "./components.ts";
import type { LoadedLora } from "./loaded-lora.ts";

/** What a request comes to once defaults, profile and snapping are applied. */
export interface Effective {
  readonly profile: Profile;
  readonly width: number;
  readonly height: number;
  readonly steps: number;
  readonly guidanceScale: number;
  /** The w of `pos + w·(pos - neg)`; 0: one pass, no negative prompt. */
  readonly guidanceWeight: number;
  readonly seed: bigint;
}

/** @throws InputError if the profile refuses the size. */
export function effectiveParameters(
  request: GenerateRequest,
  model: ModelDefinition,
  profile: Profile,
): Effective {
  const guidanceScale = request.guidanceScale ?? model.guidanceScale;
  return {
    profile,
    width: snap("width", request.width ?? model.width, profile),
    height: snap("height", request.height ?? model.height, profile),
    steps: request.steps ?? model.steps,
    guidanceScale,
    guidanceWeight: profile.guidanceWeight(guidanceScale),
    seed: request.seed,
  };
}

function snap(side: string, size: number, profile: Profile): number {
  const floored = size - (size % profile.divisor);
  if (floored !== size && profile.otherSizes === "refuse") {
    throw new InputError(
      `${side} ${size}: profile ${profile.name} takes multiples of ${profile.divisor} only. ` +
        `Use ${floored} or ${floored + profile.divisor}.`,
    );
  }
  return floored;
}

/** What the API answers as `effective`, without what the worker adds; the seed is a piece of JSON. */
type Description = Required<Omit<EffectiveAnswer, "seed" | "weights" | "warnings">> & {
  readonly seed: object;
};

/**
 * All that decided how a picture looks, as it is written into the picture and
 * printed with `--json`: what a person compares when two pictures differ.
 */
export function describeResult(
  { model, transformer, asTrained, held }: Components,
  request: GenerateRequest,
  {
    device,
    effective,
    profileReason,
    schedule,
    prompt,
    loras,
  }: {
    readonly device: Description["device"];
    readonly effective: Effective;
    readonly profileReason: string | null;
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
    storage: held.storage,
    as_trained: describeRounding(asTrained),
    device,
    profile: effective.profile.name,
    profile_asked: request.profile,
    profile_reason: profileReason,
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

/** What of the weights was rounded as in training, by what; null: they ran as stored. */
export function describeRounding(asTrained: Components["asTrained"]): Description["as_trained"] {
  if (asTrained === null) return null;
  const { rounding, adapter } = asTrained;
  return {
    dtype: rounding.dtype,
    transformer: rounding.transformer ?? rounding.dtype,
    text_encoder: rounding.textEncoder ?? rounding.dtype,
    embedders: rounding.embedders,
    training_adapter: adapter === null ? null : basename(adapter),
  };
}
