import type { GenerateInput, ProfileName } from "../job/request.ts";
import type { TrainerSample } from "./samples.ts";
import type { TrainedLora } from "./trained-loras.ts";

/** What the trainer drew, as a request. A LoRA at 0 is none: the trainer then skips it too. */
export function requestOf(
  sample: TrainerSample,
  lora: TrainedLora | null,
  profile: ProfileName,
): GenerateInput {
  const { multiplier, seed, ...own } = sample;
  return {
    ...own,
    seed: seed as bigint, // a random one has no request
    loras: lora === null || multiplier === 0 ? [] : [{ path: lora.path, multiplier }],
    profile,
  };
}
