import { apiError } from "../wire/answers.ts";
import { describedUpload, inspected, uploadId, uploadPage } from "../wire/lora-answers.ts";
import type { JsonSchema } from "../wire/shapes.ts";
import { string } from "../wire/shapes.ts";
import {
  binary,
  json,
  notFound,
  pathParameter,
  queryParameters,
  refusals,
} from "./openapi-parts.ts";
import { inspectQuery, uploadQuery, uploadsQuery } from "./queries.ts";

const id = pathParameter("id", "id of an upload", uploadId);
const form: JsonSchema = {
  type: "object",
  properties: { file: binary, name: string.schema },
  required: ["file"],
};
/** What the id of an upload is good for. */
const links = Object.fromEntries(
  ["getLora", "deleteLora"].map((operationId) => [
    operationId,
    { operationId, parameters: { id: "$response.body#/id" } },
  ]),
);
const location = {
  headers: { location: { schema: string.schema, description: "Where the upload is described" } },
};

/** The routes of uploaded LoRAs in OpenAPI. */
export function loraPaths(tags: readonly string[]): Record<string, JsonSchema> {
  return {
    "/v1/loras": {
      post: {
        tags,
        summary: "Upload a LoRA, which requests then name by its path",
        parameters: queryParameters(uploadQuery),
        requestBody: {
          required: true,
          content: {
            "application/octet-stream": { schema: binary },
            "multipart/form-data": { schema: form },
          },
        },
        responses: {
          "200": { ...json("It was there already", describedUpload), ...location, links },
          "201": { ...json("Kept", describedUpload), ...location, links },
          "400": json("No LoRA, or a form that can't be read", apiError),
          "408": json("The body comes too slowly", apiError),
          "413": json("Larger than a LoRA may be here", apiError),
          "415": json("Another content type, or a compressed body", apiError),
          "503": json("Too many files are being read: see Retry-After", apiError),
          "507": json("No room: for uploads, or on the disk", apiError),
          ...refusals,
        },
      },
      get: {
        tags,
        summary: "Uploaded LoRAs, newest first",
        parameters: queryParameters(uploadsQuery),
        responses: {
          "200": json("A page", uploadPage),
          "400": json("Wrong query", apiError),
          ...refusals,
        },
      },
    },
    "/v1/loras/inspect": {
      get: {
        tags,
        summary: "What a LoRA is that a request could name",
        parameters: queryParameters(inspectQuery),
        responses: {
          "200": json("What it is", inspected),
          "400": json("There is none, or it can't be used", apiError),
          "502": json("Its link gives nothing", apiError),
          "503": json(
            "The server's folder of LoRAs can't be used, or too many files are being read: see Retry-After",
            apiError,
          ),
          ...refusals,
        },
      },
    },
    "/v1/loras/{id}": {
      get: {
        tags,
        operationId: "getLora",
        summary: "An uploaded LoRA, and what it is",
        parameters: [id],
        responses: {
          "200": json("The upload", describedUpload),
          ...notFound("upload"),
          ...refusals,
        },
      },
      delete: {
        tags,
        operationId: "deleteLora",
        summary: "Delete an uploaded LoRA",
        parameters: [id],
        responses: {
          "204": { description: "Gone" },
          "409": json("Requests that have not ended use it", apiError),
          ...notFound("upload"),
          ...refusals,
        },
      },
    },
  };
}
