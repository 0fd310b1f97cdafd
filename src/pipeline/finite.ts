import type { Device } from "../config/model-options.ts";
import { DeviceLostError, InputError } from "../errors.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { firstNonFinite } from "../tensor/tensor.ts";
import { findNonFinite } from "../weights/nonfinite.ts";
import type { Component } from "./components.ts";

/**
 * Refuses zeros alone: a device that was reset may answer them, and they would end as a picture
 * of noise. No trained network predicts them.
 */
export function requireAnswer(prediction: Tensor, device: Device): void {
  if (device !== "cpu" && prediction.data.every((value) => value === 0))
    throw new DeviceLostError(device, "a step's prediction is zeros alone");
}

/**
 * Refuses a stage's result that holds NaN or infinity: it would end as a black
 * picture. Only then are the weights searched for the cause.
 */
export async function requireFinite(
  what: string,
  result: Tensor,
  component: Pick<Component<unknown>, "name" | "weights">,
): Promise<void> {
  if (firstNonFinite(result.data) === -1) return;
  const culprit = await findNonFinite(component.weights);
  if (culprit !== undefined) {
    throw new InputError(
      `${culprit.file} is damaged: tensor ${culprit.name} holds NaN or infinity at element ` +
        `${culprit.index}. Download the file again.`,
    );
  }
  throw new InputError(
    `${what} came out of the ${component.name} as NaN or infinity, though its weights are sound: ` +
      "the values are too large. A LoRA multiplier closer to 0 or a lower guidance may help.",
  );
}
