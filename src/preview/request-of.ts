import type { GenerateInput, ProfileName } from "../job/request.ts";
import type { TrainerSample } from "./samples.ts";

/** What the trainer drew, as a request. */
export function requestOf(
  sample: TrainerSample & { readonly seed: bigint },
  loras: NonNullable<GenerateInput["loras"]>,
  profile: ProfileName,
): GenerateInput {
  const { multiplier: _, ...own } = sample;
  return { ...own, loras, profile };
}
