import type { FastifyInstance, FastifyRequest } from "fastify";
import { promptRequest } from "../job/prompt-request.ts";
import { generateRequestSchema } from "../job/request.ts";
import { explainInThread } from "../lora-files/explain.ts";
import { isLoraLink } from "../lora-files/lora-path.ts";
import { admit } from "../lora-files/turns.ts";
import { findLora } from "../node/find-loras.ts";
import type { NamedLora } from "../preview/explain-lora.ts";
import { isObject } from "../tools/tool-json.ts";
import type { Explanations } from "../wire/explain-answers.ts";
import type { JsonValue } from "../wire/python-json.ts";
import type { InferenceRequest } from "../wire/request.ts";
import { parseInferenceRequest } from "../wire/request.ts";
import { jobFromRequest } from "../wire/to-job.ts";
import { BodyError, jsonType, missingBody, readJsonBody } from "./body.ts";
import type { AppContext } from "./context.ts";
import { explainQuery, parseQuery } from "./queries.ts";
import type { Sender } from "./sender.ts";
import { senderOf } from "./sender.ts";
import { checkSubmission } from "./submit-route.ts";

/** A picture may be larger than any request: one of 2048 x 2048 pixels has some 8 MB. */
const largestPicture = 2 ** 24;

/** An id that no request gets. */
const noId = "00000000-0000-4000-8000-000000000000";

/** What a request or a picture comes to, without drawing it. */
export function addExplainRoute(app: FastifyInstance, context: AppContext): void {
  const { settings, uploads } = context;
  const { weights, loraFolder, limits } = settings;

  /** A request's own LoRAs; a link's file is not fetched for an explanation. */
  async function lorasOf(
    { loras }: InferenceRequest,
    { owner, signal }: Sender,
  ): Promise<NamedLora[]> {
    const found: NamedLora[] = [];
    for (const { path } of loras) {
      const wanted = { path, owner, hfToken: undefined, signal, onProgress: () => {} };
      const file = isLoraLink(path)
        ? { missing: "a link is not fetched for an explanation." }
        : await findLora(wanted, settings, uploads);
      found.push({ name: path, file });
    }
    return found;
  }

  async function explainRequest(body: JsonValue, sender: Sender): Promise<Explanations> {
    const parsed = parseInferenceRequest(body, limits);
    if (parsed.errors !== undefined) throw new BodyError(422, parsed.errors);
    await checkSubmission(parsed.request, settings);
    const job = jobFromRequest(noId, parsed.request);
    const requests = job.prompts.map((_, i) =>
      generateRequestSchema.parse({ ...promptRequest(job, i), loras: job.loras }),
    );
    const { model, asTrained } = job;
    const loras = await lorasOf(parsed.request, sender);
    return explainInThread(
      { read: "requests", weights, model, requests, loras, asTrained },
      sender,
    );
  }

  app.post(
    "/v1/explain",
    { bodyLimit: Math.max(limits.bodyBytes, largestPicture) },
    async (http, reply) => {
      const { sample, model } = parseQuery(explainQuery, http.query);
      const sender = senderOf(http, reply);
      const bytes = bytesOf(http, limits.bodyBytes);
      const json = isJson(http) ? readJsonBody(http) : undefined;
      return admit(sender.client, () =>
        isObject(json) && Object.hasOwn(json, "prompts")
          ? explainRequest(json, sender)
          : explainInThread({ read: "file", weights, bytes, sample, model, loraFolder }, sender),
      );
    },
  );
}

function bytesOf(http: FastifyRequest, mostJson: number): Buffer {
  const { body } = http;
  if (!Buffer.isBuffer(body) || body.length === 0) return missingBody();
  // JSON is read where everybody waits; a picture is not.
  if (isJson(http) && body.length > mostJson) throw new BodyError(413, "Request body is too large");
  return body;
}

function isJson({ sentType }: FastifyRequest): boolean {
  return jsonType.test(sentType);
}
