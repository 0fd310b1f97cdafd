import { createHash } from "node:crypto";
import type { FastifyRequest } from "fastify";
import type { Idempotency, Submission } from "../queue/submission.ts";
import type { Submitted } from "../wire/answers.ts";
import { submitBody } from "../wire/from-job.ts";
import { ApiError } from "./api-error.ts";
import { ownerOf } from "./auth.ts";
import type { AppContext } from "./context.ts";
import { linksFor } from "./links.ts";

/** What a request asks for, of whatever kind. */
interface Asked extends Pick<Submission, "job" | "extra" | "sealedToken" | "uploads"> {
  /** Null is the priority of most. */
  readonly priority: bigint | null;
}

/** Keeps a request that was checked, and says where its client finds it. @throws what `Queue.submit` does */
export async function accept(
  http: FastifyRequest,
  { priority, ...asked }: Asked,
  context: AppContext,
): Promise<Submitted> {
  const { queue, metrics } = context;
  const { record, created } = await queue.submit({
    ...asked,
    priority: Number(priority ?? 0n),
    owner: ownerOf(http),
    idempotency: idempotencyOf(http),
  });
  const { kind, model } = asked.job;
  if (created) metrics.accepted(model);
  http.log.info({ request_id: record.id, kind, model, created }, "accepted");
  return submitBody(record, linksFor(http, context));
}

/** @throws ApiError if a webhook can't be sent, or not there */
export function checkWebhook(url: string | null, key: Buffer | undefined): void {
  if (url === null) return;
  if (key === undefined) {
    throw new ApiError(
      400,
      "INVALID_PARAMETER",
      "'webhook_url' was given, and this server sends no webhooks: its operator sets RETAKE_WEBHOOK_SECRET for that.",
    );
  }
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    throw new ApiError(400, "INVALID_PARAMETER", "'webhook_url' is no https URL.");
  }
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
