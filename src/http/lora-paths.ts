import { json, query, refusals } from "./openapi-parts.ts";
import type { Schema } from "./wire-schemas.ts";
import {
  apiError,
  describedUpload,
  inspected,
  listOf,
  object,
  plainError,
  text,
  textOrNull,
  upload,
} from "./wire-schemas.ts";

const binary: Schema = { type: "string", format: "binary" };
const idSchema: Schema = { type: "string", pattern: "^[0-9a-f]{64}$" };
const id: Schema = {
  name: "id",
  in: "path",
  required: true,
  schema: idSchema,
  description: "id of an upload",
};
const notFound = { "404": json("No such upload", { anyOf: [apiError, plainError] }) };
const form: Schema = {
  type: "object",
  properties: { file: binary, name: text },
  required: ["file"],
};
const location = {
  headers: { location: { schema: text, description: "Where the upload is described" } },
};

/** The routes of uploaded LoRAs in OpenAPI. */
export function loraPaths(tags: readonly string[]): Record<string, Schema> {
  return {
    "/v1/loras": {
      post: {
        tags,
        summary: "Upload a LoRA, which requests then name by its path",
        parameters: [query("name", { type: "string", maxLength: 1000 })],
        requestBody: {
          required: true,
          content: {
            "application/octet-stream": { schema: binary },
            "multipart/form-data": { schema: form },
          },
        },
        responses: {
          "200": { ...json("It was there already", describedUpload), ...location },
          "201": { ...json("Kept", describedUpload), ...location },
          "400": json("No LoRA, or a form that can't be read", apiError),
          "408": json("The body comes too slowly", apiError),
          "413": json("Larger than a LoRA may be here", apiError),
          "415": json("Another content type, or a compressed body", apiError),
          "507": json("No room: for uploads, or on the disk", apiError),
          ...refusals,
        },
      },
      get: {
        tags,
        summary: "Uploaded LoRAs, newest first",
        parameters: [
          query("limit", { type: "integer", minimum: 1, maximum: 100, default: 20 }),
          query("after", idSchema),
        ],
        responses: {
          "200": json("A page", object({ loras: listOf(upload), next: textOrNull })),
          "400": json("Wrong query", apiError),
          ...refusals,
        },
      },
    },
    "/v1/loras/inspect": {
      get: {
        tags,
        summary: "What a LoRA is that a request could name",
        parameters: [query("path", { type: "string", maxLength: 4096 }, true)],
        responses: {
          "200": json("What it is", inspected),
          "400": json("There is none, or it can't be used", apiError),
          "502": json("Its link gives nothing", apiError),
          ...refusals,
        },
      },
    },
    "/v1/loras/{id}": {
      get: {
        tags,
        summary: "An uploaded LoRA, and what it is",
        parameters: [id],
        responses: { "200": json("The upload", describedUpload), ...notFound, ...refusals },
      },
      delete: {
        tags,
        summary: "Delete an uploaded LoRA",
        parameters: [id],
        responses: {
          "204": { description: "Gone" },
          "409": json("Requests that have not ended use it", apiError),
          ...notFound,
          ...refusals,
        },
      },
    },
  };
}
