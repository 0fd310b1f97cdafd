import type { Schedule } from "../sampler/schedule.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { writeSafetensors } from "../weights/write-safetensors.ts";

type TraceTensor =
  Parameters<typeof writeSafetensors>[1] extends ReadonlyMap<string, infer T> ? T : never;

/**
 * Every stage of one picture, under the names that a person compares with the
 * reference: `input_ids`, `negative_input_ids` int64 [length]; `prompt_embeds`,
 * `negative_prompt_embeds` [length, width]; `sigmas` [steps + 1]; `timesteps`
 * [steps]; `noise`, `noise_pred.K`, `latents.K` [1, channels, h, w] (K counts
 * useful steps from 0, latents are those after the step); `image` [3, H, W] in
 * [0, 1]. What belongs to the negative prompt is there with guidance only.
 */
export class Trace {
  readonly #tensors = new Map<string, TraceTensor>();

  inputs(stages: {
    readonly inputIds: readonly number[];
    readonly negativeIds: readonly number[];
    readonly promptEmbeds: readonly Tensor[];
    readonly schedule: Schedule;
    readonly noise: Tensor;
  }): void {
    const { promptEmbeds, schedule, noise } = stages;
    this.#tensors.set("input_ids", ids(stages.inputIds));
    this.#tensors.set("prompt_embeds", promptEmbeds[0]!);
    if (promptEmbeds[1] !== undefined) {
      this.#tensors.set("negative_input_ids", ids(stages.negativeIds));
      this.#tensors.set("negative_prompt_embeds", promptEmbeds[1]);
    }
    this.#tensors.set("sigmas", { data: schedule.sigmas, shape: [schedule.sigmas.length] });
    this.#tensors.set("timesteps", {
      data: schedule.timesteps,
      shape: [schedule.timesteps.length],
    });
    this.#tensors.set("noise", noise);
  }

  step(step: number, noisePred: Tensor, latents: Tensor): void {
    this.#tensors.set(`noise_pred.${step}`, noisePred);
    this.#tensors.set(`latents.${step}`, latents);
  }

  image(image: Tensor): void {
    this.#tensors.set("image", image);
  }

  write(path: string, metadata: Record<string, string>): Promise<void> {
    return writeSafetensors(path, this.#tensors, metadata);
  }
}

function ids(values: readonly number[]): TraceTensor {
  return { data: BigInt64Array.from(values, BigInt), shape: [values.length] };
}
