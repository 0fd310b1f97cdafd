import swagger from "@fastify/swagger";
import swaggerUi from "@fastify/swagger-ui";
import type { FastifyInstance } from "fastify";
import type { Settings } from "../config/settings.ts";
import { imageFormats } from "../job/job.ts";
import { models } from "../models/registry.ts";
import { version } from "../version.ts";
import {
  apiError,
  event,
  health,
  modelList,
  plainError,
  readiness,
  status,
  statusPage,
  submitted,
  validationError,
} from "../wire/answers.ts";
import { explanations } from "../wire/explain-answers.ts";
import { report } from "../wire/report.ts";
import type { RequestLimits } from "../wire/request.ts";
import { inferenceRequest } from "../wire/request.ts";
import { result } from "../wire/result-answers.ts";
import type { JsonSchema } from "../wire/shapes.ts";
import { string } from "../wire/shapes.ts";
import { loraPaths } from "./openapi-loras.ts";
import {
  acceptedLinks,
  anyRoute,
  binary,
  idempotencyKey,
  json,
  notFound,
  pathParameter,
  queryParameters,
  refusals,
} from "./openapi-parts.ts";
import { previewPaths } from "./openapi-previews.ts";
import { explainQuery, requestsQuery } from "./queries.ts";

/** Runs on the checkpoint that comes with Retake. */
const exampleRequest = {
  model: "zimage_turbo",
  loras: [{ path: "zorple.safetensors", network_multiplier: 0.8 }],
  prompts: [{ prompt: "zorple a red circle on blue", width: 256, height: 256, seed: 7 }],
};
const id = pathParameter("id", "request_id of a request");
const modelIds = models.map((model) => model.id);

/** The API in OpenAPI 3.1; request fields come from the table that parses them. */
function openApiDocument(limits: RequestLimits): JsonSchema {
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
        get: { summary: "Alive", responses: { "200": json("Alive", health), ...anyRoute } },
      },
      "/ready": {
        get: {
          summary: "Able to take requests",
          responses: {
            "200": json("Ready", readiness),
            "503": json("Not ready, for the reasons in details", apiError),
            ...anyRoute,
          },
        },
      },
      "/metrics": {
        get: {
          summary: "What Prometheus collects",
          responses: {
            "200": { description: "Metrics", content: { "text/plain": { schema: string.schema } } },
            "401": refusals["401"],
            ...anyRoute,
          },
        },
      },
      "/v1/models": {
        get: {
          tags,
          summary: "Models that run here",
          responses: { "200": json("Models", modelList), ...refusals },
        },
      },
      "/v1/inference": {
        post: {
          tags,
          summary: "Ask for pictures",
          parameters: [idempotencyKey],
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
            "200": { ...json("Accepted, and kept", submitted), links: acceptedLinks },
            "400": json("Well-formed, but can't be run", apiError, plainError),
            "409": json("The idempotency key belongs to another request", apiError),
            "413": json("The body is too large", plainError),
            "422": json("Wrong fields", validationError),
            "503": json("The server's folder of LoRAs can't be used", apiError),
            ...refusals,
          },
        },
      },
      "/v1/explain": {
        post: {
          tags,
          summary: "Everything that decides how a request or a picture looks, without drawing it",
          parameters: queryParameters(explainQuery),
          requestBody: {
            required: true,
            content: {
              "application/json": { schema: { $ref: "#/components/schemas/InferenceInput" } },
              ...Object.fromEntries(
                imageFormats.map((format) => [`image/${format}`, { schema: binary }]),
              ),
              "application/yaml": { schema: string.schema },
            },
          },
          responses: {
            "200": json("An explanation for each prompt", explanations),
            "400": json("It states no request, or one that can't be drawn", apiError, plainError),
            "413": json("The body is too large", plainError),
            "422": json("Wrong fields", validationError),
            "503": json(
              "The server's folder of LoRAs can't be used, or too many files are being read: see Retry-After",
              apiError,
            ),
            ...refusals,
          },
        },
      },
      ...loraPaths(tags),
      ...previewPaths(tags),
      "/v1/requests": {
        get: {
          tags,
          summary: "Requests, newest first",
          parameters: queryParameters(requestsQuery),
          responses: {
            "200": json("A page", statusPage),
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
            ...notFound("request"),
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
          responses: { "200": json("Status", status), ...notFound("request"), ...refusals },
        },
      },
      "/v1/requests/{id}/result": {
        get: {
          tags,
          operationId: "getResult",
          summary: "What a request gave, in every state",
          parameters: [id],
          responses: { "200": json("Result", result), ...notFound("request"), ...refusals },
        },
      },
      "/v1/requests/{id}/cancel": {
        post: {
          tags,
          operationId: "cancelRequest",
          summary: "Stop a request",
          parameters: [id],
          responses: {
            "200": json(
              "Its status now: a waiting request has ended, a running one is told to end",
              status,
            ),
            ...notFound("request"),
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
            "200": {
              description: "Events",
              content: { "text/event-stream": { schema: event.schema } },
            },
            "400": json("Last-Event-ID is no number of ours", apiError),
            ...notFound("request"),
            ...refusals,
          },
        },
      },
      "/v1/requests/{id}/files/{name}": {
        get: {
          tags,
          summary: "A picture, or a report on previews",
          parameters: [id, pathParameter("name", "as the result's url ends")],
          responses: {
            "200": {
              description: "The file",
              content: {
                ...Object.fromEntries(
                  imageFormats.map((format) => [`image/${format}`, { schema: binary }]),
                ),
                "application/json": { schema: report.schema },
                "application/octet-stream": { schema: binary },
              },
            },
            ...notFound("request"),
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
