import { apiError, plainError, submitted, validationError } from "../wire/answers.ts";
import { describedJobUpload, jobPage, jobUploadPage } from "../wire/preview-answers.ts";
import { manifestRequest, previewRequest } from "../wire/preview-request.ts";
import type { JsonSchema } from "../wire/shapes.ts";
import { string } from "../wire/shapes.ts";
import {
  acceptedLinks,
  binary,
  idempotencyKey,
  json,
  notFound,
  pathParameter,
  queryParameters,
  refusals,
} from "./openapi-parts.ts";
import { jobsQuery, jobUploadsQuery } from "./queries.ts";

const id = pathParameter("id", "id of an uploaded folder");
const uploadLinks = Object.fromEntries(
  ["getJobUpload", "deleteJobUpload"].map((operationId) => [
    operationId,
    { operationId, parameters: { id: "$response.body#/id" } },
  ]),
);

/** @param examples values by what they show */
function body(schema: JsonSchema, examples: Readonly<Record<string, unknown>>): JsonSchema {
  const values = Object.entries(examples).map(([name, value]) => [name, { value }]);
  const content = { schema, examples: Object.fromEntries(values) };
  return { required: true, content: { "application/json": content } };
}

const someOfAFolder = { folder: "my_cat", steps: [2000, 2500], samples: [0] };
const manifest = {
  name: "my_cat",
  files: [
    { path: "config.yaml", bytes: 2048 },
    { path: "samples/1764000000000__000002000_0.jpg", bytes: 90_000 },
    { path: "my_cat_000002000.safetensors", bytes: 85_000_000, sha256: "0".repeat(64) },
  ],
};

/** The routes that take a training's previews again, in OpenAPI. */
export function previewPaths(tags: readonly string[]): Record<string, JsonSchema> {
  return {
    "/v1/previews": {
      post: {
        tags,
        summary: "Take a training's previews again, and report how near they come",
        parameters: [idempotencyKey],
        requestBody: body(previewRequest.schema, {
          folder: { folder: "my_cat" },
          some: someOfAFolder,
        }),
        responses: {
          "200": { ...json("Accepted, and kept", submitted), links: acceptedLinks },
          "400": json("No job folder that can be used", apiError, plainError),
          "409": json(
            "The uploaded folder is not whole, or the idempotency key belongs to another request",
            apiError,
          ),
          "413": json("The body is too large", plainError),
          "422": json("Wrong fields", validationError),
          "503": json(
            "The server's folder of LoRAs can't be used, or too many files are being read: see Retry-After",
            apiError,
          ),
          ...notFound("uploaded folder"),
          ...refusals,
        },
      },
    },
    "/v1/previews/jobs": {
      get: {
        tags,
        summary: "Job folders below the server's LoRA folder, by name",
        parameters: queryParameters(jobsQuery),
        responses: {
          "200": json("A page", jobPage),
          "400": json("Wrong query, or more files than are looked at", apiError),
          "503": json(
            "The server's folder of LoRAs can't be used, or too many files are being read: see Retry-After",
            apiError,
          ),
          ...refusals,
        },
      },
    },
    "/v1/previews/uploads": {
      post: {
        tags,
        summary: "Begin the upload of a job folder with a manifest of its files",
        requestBody: body(manifestRequest.schema, { folder: manifest }),
        responses: {
          "201": {
            ...json("Begun", describedJobUpload),
            headers: {
              location: { schema: string.schema, description: "Where the upload is described" },
            },
            links: uploadLinks,
          },
          "400": json("A body that can't be read", plainError),
          "409": json("Too many uploads that no request uses", apiError),
          "413": json("The body is too large", plainError),
          "422": json("Wrong fields", validationError),
          "507": json("No room for uploads", apiError),
          ...refusals,
        },
      },
      get: {
        tags,
        summary: "Uploaded job folders, newest first",
        parameters: queryParameters(jobUploadsQuery),
        responses: {
          "200": json("A page", jobUploadPage),
          "400": json("Wrong query", apiError),
          ...refusals,
        },
      },
    },
    "/v1/previews/uploads/{id}": {
      get: {
        tags,
        operationId: "getJobUpload",
        summary: "An uploaded job folder, and which of its files have come",
        parameters: [id],
        responses: {
          "200": json("The upload", describedJobUpload),
          ...notFound("uploaded folder"),
          ...refusals,
        },
      },
      delete: {
        tags,
        operationId: "deleteJobUpload",
        summary: "Delete an uploaded job folder",
        parameters: [id],
        responses: {
          "204": { description: "Gone" },
          "409": json("Requests that have not ended use it", apiError),
          ...notFound("uploaded folder"),
          ...refusals,
        },
      },
    },
    "/v1/previews/uploads/{id}/files/{path}": {
      put: {
        tags,
        summary: "Send one of the files that the manifest names",
        parameters: [id, pathParameter("path", "of the file in the folder, e.g. samples/NAME.jpg")],
        requestBody: {
          required: true,
          content: { "application/octet-stream": { schema: binary } },
        },
        responses: {
          "204": { description: "Kept" },
          "400": json("Not what the manifest says, or no such file as its name says", apiError),
          "408": json("The body comes too slowly", apiError),
          "409": json("It has come already, with another content", apiError),
          "415": json("A compressed body", apiError),
          "503": json("Too many files are being read: see Retry-After", apiError),
          "507": json("No room: for uploads, or on the disk", apiError),
          ...notFound("uploaded folder, or file in it"),
          ...refusals,
        },
      },
    },
  };
}
