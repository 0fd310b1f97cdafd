import { InputError } from "../errors.ts";
import type { GenerateRequest } from "../job/request.ts";
import type { Profile } from "../models/profiles.ts";
import { profiles } from "../models/profiles.ts";
import type { ModelDefinition } from "../models/registry.ts";

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
export function effectiveParameters(request: GenerateRequest, model: ModelDefinition): Effective {
  const profile = profiles[request.profile];
  const guidanceScale = request.guidanceScale ?? model.guidanceScale;
  return {
    profile,
    width: snap("width", request.width ?? model.width, request.profile, profile),
    height: snap("height", request.height ?? model.height, request.profile, profile),
    steps: request.steps ?? model.steps,
    guidanceScale,
    guidanceWeight: profile.guidanceWeight(guidanceScale),
    seed: request.seed,
  };
}

function snap(side: string, size: number, name: string, profile: Profile): number {
  const floored = size - (size % profile.divisor);
  if (floored !== size && profile.otherSizes === "refuse") {
    throw new InputError(
      `${side} ${size}: profile ${name} takes multiples of ${profile.divisor} only. ` +
        `Use ${floored} or ${floored + profile.divisor}.`,
    );
  }
  return floored;
}
