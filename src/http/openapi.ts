import swagger from "@fastify/swagger";
import swaggerUi from "@fastify/swagger-ui";
import type { FastifyInstance } from "fastify";
import type { Settings } from "../config/settings.ts";
import { imageFormats } from "../job/job.ts";
import { version } from "../version.ts";
import type { RequestLimits } from "../wire/request.ts";
import { inferenceRequest } from "../wire/request.ts";
import { loraPaths } from "./lora-paths.ts";
import { json, query, refusals } from "./openapi-parts.ts";
import type { Schema } from "./wire-schemas.ts";
import {
  apiError,
  event,
  listOf,
  model,
  modelIds,
  object,
  plainError,
  result,
  state,
  status,
  submitted,
  text,
  textOrNull,
  validationError,
} from "./wire-schemas.ts";

/** Runs on the checkpoint that comes with Retake. */
const exampleRequest = {
  model: "zimage_turbo",
  loras: [{ path: "zorple.safetensors", network_multiplier: 0.8 }],
  prompts: [{ prompt: "zorple a red circle on blue", width: 256, height: 256, seed: 7 }],
};
/** What the id of an accepted request is good for. */
const linksById = Object.fromEntries(
  ["getStatus", "getResult", "getEvents", "cancelRequest", "deleteRequest"].map((operationId) => [
    operationId,
    { operationId, parameters: { id: "$response.body#/request_id" } },
  ]),
);
const id: Schema = {
  name: "id",
  in: "path",
  required: true,
  schema: text,
  description: "request_id of a request",
};
const notFound = { "404": json("No such request", { anyOf: [apiError, plainError] }) };

/** The API in OpenAPI 3.1; request fields come from the table that parses them. */
function openApiDocument(limits: RequestLimits): Schema {
  const tags = ["inference"];
  return {
    openapi: "3.1.0",
    info: {
      title: "Retake",
      version,
      description:
        "Pictures from LoRAs trained with ai-toolkit on Z-Image, as training previewed them.",
    },
    components: {
      securitySchemes: { key: { type: "http", scheme: "bearer" } },
      schemas: { InferenceInput: inferenceRequest(limits, modelIds).schema },
    },
    paths: {
      "/health": {
        get: { summary: "Alive", responses: { "200": json("Alive", object({ status: text })) } },
      },
      "/ready": {
        get: {
          summary: "Able to take requests",
          responses: {
            "200": json("Ready", object({ status: text })),
            "503": json("Not ready", apiError),
          },
        },
      },
      "/v1/models": {
        get: {
          tags,
          summary: "Models that run here",
          responses: { "200": json("Models", object({ models: listOf(model) })), ...refusals },
        },
      },
      "/v1/inference": {
        post: {
          tags,
          summary: "Ask for pictures",
          parameters: [
            { name: "Idempotency-Key", in: "header", schema: { type: "string", maxLength: 255 } },
          ],
          requestBody: {
            required: true,
            content: {
              "application/json": {
                schema: { $ref: "#/components/schemas/InferenceInput" },
                examples: { demonstration: { value: exampleRequest } },
              },
            },
          },
          responses: {
            "200": { ...json("Accepted, and kept", submitted), links: linksById },
            "400": json("Well-formed, but can't be run", { anyOf: [apiError, plainError] }),
            "409": json("The idempotency key belongs to another request", apiError),
            "413": json("The body is too large", plainError),
            "422": json("Wrong fields", validationError),
            ...refusals,
          },
        },
      },
      ...loraPaths(tags),
      "/v1/requests": {
        get: {
          tags,
          summary: "Requests, newest first",
          parameters: [
            query("status", state),
            query("model", { type: "string", pattern: "^[A-Za-z0-9_]{1,64}$" }),
            query("limit", { type: "integer", minimum: 1, maximum: 100, default: 20 }),
            query("after", { type: "string", format: "uuid" }),
          ],
          responses: {
            "200": json("A page", object({ requests: listOf(status), next: textOrNull })),
            "400": json("Wrong query", apiError),
            ...refusals,
          },
        },
      },
      "/v1/requests/{id}": {
        delete: {
          tags,
          operationId: "deleteRequest",
          summary: "Forget a request that has ended, and its files",
          parameters: [id],
          responses: {
            "204": { description: "Gone" },
            "409": json("It hasn't ended", apiError),
            ...notFound,
            ...refusals,
          },
        },
      },
      "/v1/requests/{id}/status": {
        get: {
          tags,
          operationId: "getStatus",
          summary: "How far a request is",
          parameters: [id],
          responses: { "200": json("Status", status), ...notFound, ...refusals },
        },
      },
      "/v1/requests/{id}/result": {
        get: {
          tags,
          operationId: "getResult",
          summary: "What a request gave, in every state",
          parameters: [id],
          responses: { "200": json("Result", result), ...notFound, ...refusals },
        },
      },
      "/v1/requests/{id}/cancel": {
        post: {
          tags,
          operationId: "cancelRequest",
          summary: "Stop a request",
          parameters: [id],
          responses: {
            "200": json("Its status now; a running one ends within a step", status),
            ...notFound,
            ...refusals,
          },
        },
      },
      "/v1/requests/{id}/events": {
        get: {
          tags,
          operationId: "getEvents",
          summary: "Progress as server-sent events, resumable by Last-Event-ID",
          parameters: [
            id,
            {
              name: "Last-Event-ID",
              in: "header",
              schema: { type: "string", pattern: "^[0-9]{1,9}$" },
            },
          ],
          responses: {
            "200": { description: "Events", content: { "text/event-stream": { schema: event } } },
            "400": json("Last-Event-ID is no number of ours", apiError),
            ...notFound,
            ...refusals,
          },
        },
      },
      "/v1/requests/{id}/files/{name}": {
        get: {
          tags,
          summary: "A picture",
          parameters: [id, { name: "name", in: "path", required: true, schema: text }],
          responses: {
            "200": {
              description: "The file",
              content: Object.fromEntries(
                imageFormats.map((format) => [
                  `image/${format}`,
                  { schema: { type: "string", format: "binary" } },
                ]),
              ),
            },
            ...notFound,
            ...refusals,
          },
        },
      },
    },
  };
}

/** /openapi.json and a page that shows it at /docs, all of it served from here. */
export async function addDocumentation(app: FastifyInstance, settings: Settings): Promise<void> {
  const document = openApiDocument(settings.limits);
  await app.register(swagger, {
    mode: "static",
    // The plugin's types know OpenAPI 3.0; what it does with the document is serve it.
    specification: { document: document as never },
  });
  await app.register(swaggerUi, { routePrefix: "/docs", staticCSP: true });
  app.get("/openapi.json", async () => document);
}
