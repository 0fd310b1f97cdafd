import { z } from "zod";
import { apiError, plainError, protocolError } from "../wire/answers.ts";
import type { JsonSchema, Shape } from "../wire/shapes.ts";
import { string } from "../wire/shapes.ts";

/** A JSON answer; several shapes where it depends. */
export function json(description: string, ...shapes: readonly Shape<unknown>[]): JsonSchema {
  const schemas = shapes.map(({ schema }) => schema);
  const schema = schemas.length === 1 ? schemas[0] : { anyOf: schemas };
  return { description, content: { "application/json": { schema } } };
}

export function notFound(what: string): JsonSchema {
  return { "404": json(`No such ${what}`, apiError, plainError) };
}

/** The parameters of a route's query, from the schema that reads it. */
export function queryParameters(query: z.ZodObject): JsonSchema[] {
  const { properties = {}, required = [] } = z.toJSONSchema(query, { io: "input" });
  return Object.entries(properties).map(([name, schema]) => ({
    ...{ name, in: "query", schema },
    required: required.includes(name),
  }));
}

export function pathParameter(name: string, description: string, { schema } = string): JsonSchema {
  return { name, in: "path", required: true, schema, description };
}

/** A request that comes twice with it is one. */
export const idempotencyKey: JsonSchema = {
  name: "Idempotency-Key",
  in: "header",
  schema: { type: "string", maxLength: 255 },
};

/** What the id of an accepted request is good for. */
export const acceptedLinks: JsonSchema = Object.fromEntries(
  ["getStatus", "getResult", "getEvents", "cancelRequest", "deleteRequest"].map((operationId) => [
    operationId,
    { operationId, parameters: { id: "$response.body#/request_id" } },
  ]),
);

export const binary: JsonSchema = { type: "string", format: "binary" };

/** The server answers so before it knows which route is meant. */
export const anyRoute = {
  "421": json("A name in Host that is not this server's", apiError),
  "431": json("The request's headers are larger than 16 KiB", protocolError),
};

/** Any route under /v1/ may refuse a request so. */
export const refusals = {
  ...anyRoute,
  "401": json("No valid API key, where the server asks for one", apiError),
  "403": json("A page of another site asks for a change or an inspection", apiError),
  "429": json("Too many requests, or a full queue: see Retry-After", apiError),
};
