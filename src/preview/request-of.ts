import type { GenerateInput, ProfileName } from "../job/request.ts";
import type { TrainerSample } from "./samples.ts";
import type { TrainedLora } from "./trained-loras.ts";

/** What the trainer drew, as a request. A LoRA at 0 is none: the trainer then skips it too. */
export function requestOf(
  sample: TrainerSample & { readonly seed: bigint },
  lora: TrainedLora | null,
  profile: ProfileName,
): GenerateInput {
  const { multiplier, ...own } = sample;
  return {
    ...own,
    loras: lora === null || multiplier === 0 ? [] : [{ path: lora.path, multiplier }],
    profile,
  };
}
