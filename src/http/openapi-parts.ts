import type { Schema } from "./wire-schemas.ts";
import { apiError } from "./wire-schemas.ts";

export function json(description: string, schema: Schema): Schema {
  return { description, content: { "application/json": { schema } } };
}

export function query(name: string, schema: Schema, required = false): Schema {
  return { name, in: "query", schema, required };
}

/** Any route may refuse so. */
export const refusals = {
  "401": json("No valid API key, where the server asks for one", apiError),
  "403": json("A page of another site asks for a change or an inspection", apiError),
  "421": json("A name in Host that is not this server's", apiError),
  "429": json("Too many requests, or a full queue: see Retry-After", apiError),
};
