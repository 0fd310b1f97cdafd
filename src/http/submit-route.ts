import { createHash, randomUUID } from "node:crypto";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { isHubLink } from "../lora-source/link.ts";
import { IdempotencyConflictError, QueueFullError, UploadNotFoundError } from "../queue/errors.ts";
import type { Idempotency } from "../queue/submission.ts";
import type { InferenceRequest } from "../schema/inference-request.ts";
import { parseInferenceRequest } from "../schema/inference-request.ts";
import { jobFromRequest } from "../schema/job-from-request.ts";
import { uploadIdOf, uploadPath } from "../uploads/upload-path.ts";
import { ApiError, loraNotFound } from "./api-error.ts";
import type { AppContext } from "./app.ts";
import { ownerOf } from "./auth.ts";
import { BodyError, readJsonBody } from "./body.ts";
import { submitBody } from "./render.ts";
import { checkSubmission } from "./submit-checks.ts";

export function addSubmitRoute(app: FastifyInstance, context: AppContext): void {
  const { settings, queue, place, metrics, seal } = context;
  app.post("/v1/inference", async (http) => {
    const parsed = parseInferenceRequest(readJsonBody(http), settings.limits);
    if (parsed.errors !== undefined) throw new BodyError(422, parsed.errors);
    const { request } = parsed;
    await checkSubmission(request, settings);
    checkWebhook(request, settings.webhookSecret);
    const id = randomUUID();
    const submission = {
      job: jobFromRequest(id, request),
      extra: { webhook_url: request.webhook_url, resolution: resolutionOf(request) },
      priority: Number(request.priority ?? 0n),
      owner: ownerOf(http),
      sealedToken: opensLink(request, settings.loraSource.hubEndpoint)
        ? seal.seal(request.hf_token, id)
        : null,
      uploads: request.loras.flatMap(({ path }) => uploadIdOf(path) ?? []),
      idempotency: idempotencyOf(http),
    };
    try {
      const { record, created } = await queue.submit(submission);
      if (created) metrics.accepted(request.model);
      http.log.info({ request_id: record.id, model: request.model, created }, "accepted");
      return submitBody(record, place);
    } catch (error) {
      throw refusalOf(error);
    }
  });
}

function refusalOf(error: unknown): unknown {
  if (error instanceof QueueFullError) {
    const { message, retryAfterSeconds } = error;
    const details = { retry_after: retryAfterSeconds };
    return new ApiError(429, "QUEUE_FULL", message, details, {
      "retry-after": String(retryAfterSeconds),
    });
  }
  if (error instanceof IdempotencyConflictError)
    return new ApiError(409, "IDEMPOTENCY_CONFLICT", error.message);
  if (error instanceof UploadNotFoundError)
    return loraNotFound(uploadPath(error.sha256), error.message);
  return error;
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

function checkWebhook({ webhook_url }: InferenceRequest, secret: string | undefined): void {
  if (webhook_url === null) return;
  if (secret === undefined) {
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
