import { createHash, randomUUID } from "node:crypto";
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { Settings } from "../config/settings.ts";
import { findLocalLora, noSuchUpload } from "../lora-files/local.ts";
import { isHubLink, isLoraLink, isUploadPath, uploadIdOf } from "../lora-files/lora-path.ts";
import type { ModelDefinition } from "../models/registry.ts";
import { models } from "../models/registry.ts";
import type { Idempotency } from "../queue/submission.ts";
import { submitBody } from "../wire/from-job.ts";
import type { InferenceRequest } from "../wire/request.ts";
import { parseInferenceRequest } from "../wire/request.ts";
import { jobFromRequest } from "../wire/to-job.ts";
import { ApiError } from "./api-error.ts";
import { ownerOf } from "./auth.ts";
import { BodyError, readJsonBody } from "./body.ts";
import type { AppContext } from "./context.ts";
import { linksFor } from "./links.ts";

/**
 * The reference's checks of a well-formed request, in its order; the first that fails decides.
 *
 * @throws ApiError, LoraNotFoundError
 */
async function checkSubmission(
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
  const { settings, queue, metrics, seal } = context;
  app.post("/v1/inference", async (http) => {
    const parsed = parseInferenceRequest(readJsonBody(http), settings.limits);
    if (parsed.errors !== undefined) throw new BodyError(422, parsed.errors);
    const { request } = parsed;
    await checkSubmission(request, settings);
    checkWebhook(request, settings.webhookKey);
    const id = randomUUID();
    const submission = {
      job: jobFromRequest(id, request),
      extra: { webhook_url: request.webhook_url, resolution: resolutionOf(request) },
      priority: Number(request.priority ?? 0n),
      owner: ownerOf(http),
      sealedToken: opensLink(request, settings.hub.endpoint)
        ? seal.seal(request.hf_token, id)
        : null,
      uploads: request.loras.flatMap(({ path }) => uploadIdOf(path) ?? []),
      idempotency: idempotencyOf(http),
    };
    const { record, created } = await queue.submit(submission);
    if (created) metrics.accepted(request.model);
    http.log.info({ request_id: record.id, model: request.model, created }, "accepted");
    return submitBody(record, linksFor(http, context));
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

function checkWebhook({ webhook_url }: InferenceRequest, key: Buffer | undefined): void {
  if (webhook_url === null) return;
  if (key === undefined) {
    throw new ApiError(
      400,
      "INVALID_PARAMETER",
      "'webhook_url' was given, and this server sends no webhooks: its operator sets RETAKE_WEBHOOK_SECRET for that.",
    );
  }
  if (!URL.canParse(webhook_url) || !/^https?:$/.test(new URL(webhook_url).protocol)) {
    throw new ApiError(400, "INVALID_PARAMETER", "'webhook_url' is no https URL.");
  }
}

/** Only other models have a High: a request for it fails when it runs, as in the reference. */
function resolutionOf({ prompts }: InferenceRequest): string | null {
  return prompts.some(({ resolution }) => resolution === "High") ? "High" : null;
}

const printable = /^[\x20-\x7e]{1,255}$/;

function idempotencyOf(request: FastifyRequest): Idempotency | undefined {
  const key = request.headers["idempotency-key"];
  if (key === undefined) return undefined;
  if (typeof key !== "string" || !printable.test(key)) {
    throw new ApiError(
      400,
      "INVALID_PARAMETER",
      "The header 'Idempotency-Key' is not 1 to 255 printable characters.",
    );
  }
  // The body was read already, so it is one.
  const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
  return { key, fingerprint: createHash("sha256").update(body).digest("hex") };
}
