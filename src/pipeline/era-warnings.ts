import type { GenerateRequest } from "../job/request.ts";
import type { LoraInfo } from "../lora/info.ts";
import type { Era } from "../models/eras.ts";
import { eraOfHeader } from "../models/eras.ts";
import type { Profile } from "../models/profiles.ts";
import type { ModelDefinition } from "../models/registry.ts";
import { flowMatchSchedule, usefulSteps } from "../sampler/schedule.ts";
import { effectiveParameters } from "./parameters.ts";

/** What of a picture depends on the profile, in words. */
type Meaning = ReadonlyMap<string, string>;

/**
 * Says of each LoRA whose training previews meant something else by this request's numbers what
 * differs, and what to ask for. Names are not compared: a profile that makes the same picture of
 * these numbers is as good as the LoRA's own.
 *
 * @param used the profile that the picture is made in
 * @param loras what the headers of the request's LoRAs say, in its order
 */
export function eraWarnings(
  request: GenerateRequest,
  model: ModelDefinition,
  used: Profile,
  loras: readonly Pick<LoraInfo, "trainer" | "trainerVersion">[],
): string[] {
  const meaningIn = (profile: Profile) => meaningOf(request, model, profile);
  return loras.flatMap((header, i) => {
    const era = eraOfHeader(header);
    if ("none" in era) return [];
    const lora = loras.length === 1 ? "the LoRA" : `LoRA ${i + 1}`;
    const trained = `${lora} was trained with ai-toolkit ${era.version}`;
    if (!era.candidates.some((own) => differences(meaningIn(used), meaningIn(own)).length === 0)) {
      return [
        `${trained}, and this is not the picture that its previews would have shown: ` +
          `${differences(meaningIn(used), meaningIn(era.profile)).join(", ")}. ${askFor(era.profile)}`,
      ];
    }
    return request.profile === "preview" && era.profile === used
      ? doubtWarning(trained, era, meaningIn)
      : [];
  });
}

/** A version that holds two eras leaves it open which of their pictures was seen. */
function doubtWarning(
  trained: string,
  { profile, candidates, doubt }: Era,
  meaningIn: (profile: Profile) => Meaning,
): string[] {
  return candidates.flatMap((other) => {
    const different = differences(meaningIn(profile), meaningIn(other));
    return different.length === 0
      ? []
      : [
          `${trained}: ${doubt}. Its previews may have shown another picture: ` +
            `${different.join(", ")}. ${askFor(other)}`,
        ];
  });
}

function meaningOf(request: GenerateRequest, model: ModelDefinition, profile: Profile): Meaning {
  const { width, height, steps, guidanceWeight } = effectiveParameters(request, model, profile);
  // The shift is the model's in every profile: it moves the updates and leaves their number.
  const schedule = flowMatchSchedule({ steps, shift: 1, kind: profile.schedule });
  return new Map([
    ["size", `${width}x${height}`],
    ["updates", `${usefulSteps(schedule).length}`],
    ["guidance weight", guidanceWeight === 0 ? "none" : `${guidanceWeight}`],
  ]);
}

/** What they would have had, and what this picture has instead. */
function differences(used: Meaning, own: Meaning): string[] {
  return [...own].flatMap(([what, theirs]) => {
    const ours = used.get(what);
    return theirs === ours ? [] : [`${what} ${theirs} instead of ${ours}`];
  });
}

function askFor({ name }: Profile): string {
  return `Ask for profile ${name} to get it: --profile ${name}, or "profile": "${name}" in a request.`;
}
