import { randomUUID } from "node:crypto";
import type { FastifyInstance } from "fastify";
import type { Settings } from "../config/settings.ts";
import { findLocalLora, noSuchUpload } from "../lora-files/local.ts";
import { isHubLink, isLoraLink, isUploadPath, uploadIdOf } from "../lora-files/lora-path.ts";
import type { ModelDefinition } from "../models/registry.ts";
import { models } from "../models/registry.ts";
import type { InferenceRequest } from "../wire/request.ts";
import { parseInferenceRequest } from "../wire/request.ts";
import { jobFromRequest } from "../wire/to-job.ts";
import { accept, checkWebhook } from "./accept.ts";
import { ApiError } from "./api-error.ts";
import { BodyError, readJsonBody } from "./body.ts";
import type { AppContext } from "./context.ts";

/**
 * The reference's checks of a well-formed request, in its order; the first that fails decides.
 *
 * @throws ApiError, LoraNotFoundError
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
      if (uploadIdOf(path) === undefined) throw noSuchUpload(path);
    } else if (!isLoraLink(path)) await findLocalLora(loraFolder, path);
  }
  return model;
}

export function addSubmitRoute(app: FastifyInstance, context: AppContext): void {
  const { settings, seal } = context;
  app.post("/v1/inference", async (http) => {
    const parsed = parseInferenceRequest(readJsonBody(http), settings.limits);
    if (parsed.errors !== undefined) throw new BodyError(422, parsed.errors);
    const { request } = parsed;
    await checkSubmission(request, settings);
    checkWebhook(request.webhook_url, settings.webhookKey);
    const id = randomUUID();
    return accept(
      http,
      {
        job: jobFromRequest(id, request),
        extra: { webhook_url: request.webhook_url, resolution: resolutionOf(request) },
        priority: request.priority,
        sealedToken: opensLink(request, settings.hub.endpoint)
          ? seal.seal(request.hf_token, id)
          : null,
        uploads: request.loras.flatMap(({ path }) => uploadIdOf(path) ?? []),
      },
      context,
    );
  });
}

/** Whether there is a token and a link that it may open; an empty token is none, as in the reference. */
function opensLink(
  request: InferenceRequest,
  hubEndpoint: string,
): request is InferenceRequest & { hf_token: string } {
  const { hf_token, loras } = request;
  if (hf_token === null || hf_token === "") return false;
  return loras.some(({ path }) => isHubLink(path, hubEndpoint));
}

/** Only other models have a High: a request for it fails when it runs, as in the reference. */
function resolutionOf({ prompts }: InferenceRequest): string | null {
  return prompts.some(({ resolution }) => resolution === "High") ? "High" : null;
}
