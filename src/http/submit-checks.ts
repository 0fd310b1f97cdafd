import { isLoraLink } from "../lora-source/link.ts";
import type { ModelDefinition } from "../models/model.ts";
import { models } from "../models/registry.ts";
import type { InferenceRequest } from "../schema/inference-request.ts";
import type { Settings } from "../schema/settings.ts";
import { isUploadPath, uploadIdOf } from "../uploads/upload-path.ts";
import { findLocalLora, LoraNotFoundError } from "../worker/local-lora.ts";
import { ApiError, loraNotFound } from "./api-error.ts";

const notAnUpload =
  "An uploaded LoRA is named upload: and the id that its upload was answered with.";

/**
 * The reference's checks of a well-formed request, in its order; the first that fails decides.
 *
 * @throws ApiError
 */
export async function checkSubmission(
  { model: id, loras }: InferenceRequest,
  { loraFolder, limits }: Pick<Settings, "loraFolder" | "limits">,
): Promise<ModelDefinition> {
  const model = models.find((known) => known.id === id);
  if (model === undefined) {
    throw new ApiError(
      400,
      "MODEL_NOT_FOUND",
      `There is no model ${JSON.stringify(id)} here. Take one of ${models.map((known) => known.id).join(", ")}.`,
      { supported_models: models.map((known) => known.id) },
    );
  }
  const shown = loras.map(({ path, transformer, network_multiplier }) => ({
    path,
    transformer,
    network_multiplier,
  }));
  const refuse = (code: string, message: string) => {
    throw new ApiError(400, code, message, { loras: shown });
  };
  if (loras.length === 0) refuse("LORA_FILE_REQUIRED", "At least one LoRA is required in 'loras'.");
  if (loras.some(({ transformer }) => transformer !== null)) {
    refuse(
      "MOE_FORMAT_NOT_SUPPORTED",
      `${id} has one transformer: leave 'transformer' out of its LoRA.`,
    );
  }
  if (loras.length > limits.loras) {
    const most = limits.loras === 1 ? "one LoRA" : `${limits.loras} LoRAs`;
    refuse("SINGLE_LORA_ONLY", `${id} takes ${most} a request, and ${loras.length} were given.`);
  }
  for (const { path } of loras) {
    // Whether its owner has it is asked when the request is kept.
    if (isUploadPath(path)) {
      if (uploadIdOf(path) === undefined) throw loraNotFound(path, notAnUpload);
      continue;
    }
    try {
      if (!isLoraLink(path)) await findLocalLora(loraFolder, path);
    } catch (error) {
      if (!(error instanceof LoraNotFoundError)) throw error;
      throw loraNotFound(path, error.message);
    }
  }
  return model;
}
