import type { GenerateRequest } from "../job/request.ts";
import type { LoraInfo } from "../lora/info.ts";
import type { ModelDefinition } from "../models/registry.ts";
import { applyTrigger } from "../prompt/encode-prompt.ts";
import type { Schedule } from "../sampler/schedule.ts";
import { flowMatchSchedule } from "../sampler/schedule.ts";
import type { ChosenProfile } from "./choose-profile.ts";
import { chooseProfile } from "./choose-profile.ts";
import { eraWarnings } from "./era-warnings.ts";
import type { Effective } from "./parameters.ts";
import { effectiveParameters } from "./parameters.ts";

/** What a request comes to, before any network is opened. */
export interface Decided extends ChosenProfile {
  readonly effective: Effective;
  readonly schedule: Schedule;
  /** After its trigger word was filled in. */
  readonly prompt: string;
  /** Where the LoRAs' own previews meant something else. */
  readonly warnings: readonly string[];
}

/**
 * @param shift of the model's schedule
 * @param headers what the headers of the request's LoRAs say, in its order
 * @throws InputError if the profile refuses the size
 */
export function decide(
  request: GenerateRequest,
  model: ModelDefinition,
  shift: number,
  headers: readonly Pick<LoraInfo, "trainer" | "trainerVersion">[],
): Decided {
  const { profile, reason } = chooseProfile(request.profile, headers);
  const effective = effectiveParameters(request, model, profile);
  return {
    profile,
    reason,
    effective,
    schedule: flowMatchSchedule({ steps: effective.steps, shift, kind: profile.schedule }),
    prompt: applyTrigger(request.prompt, request.triggerWord),
    warnings: eraWarnings(request, model, profile, headers),
  };
}
