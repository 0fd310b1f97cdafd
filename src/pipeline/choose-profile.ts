import type { AskedProfileName } from "../job/request.ts";
import type { LoraInfo } from "../lora/info.ts";
import { eraOfHeader, newestEra } from "../models/eras.ts";
import type { Profile } from "../models/profiles.ts";
import { profiles } from "../models/profiles.ts";

/** The profile that a request's numbers are read in. */
export interface ChosenProfile {
  readonly profile: Profile;
  /** Why it is this one; null where the request names it. */
  readonly reason: string | null;
}

/**
 * The profile that a request names, or for `preview` the era of its first LoRA: the one in whose
 * previews a person has seen it.
 *
 * @param loras what the headers of the request's LoRAs say, in its order
 */
export function chooseProfile(
  asked: AskedProfileName,
  loras: readonly Pick<LoraInfo, "trainer" | "trainerVersion">[],
): ChosenProfile {
  if (asked !== "preview") return { profile: profiles[asked], reason: null };
  const newest = ", so the newest era counts";
  const [first] = loras;
  if (first === undefined) return { profile: newestEra, reason: `there is no LoRA${newest}` };
  const lora = loras.length === 1 ? "the LoRA" : "the first LoRA";
  const era = eraOfHeader(first);
  return "none" in era
    ? { profile: newestEra, reason: `${lora}: ${era.none}${newest}` }
    : { profile: era.profile, reason: `${lora} was trained with ai-toolkit ${era.version}` };
}
