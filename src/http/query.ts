import type { z } from "zod";
import { ApiError } from "./api-error.ts";

/** A query as its schema reads it. @throws ApiError naming each parameter that is wrong */
export function parseQuery<Schema extends z.ZodType>(
  schema: Schema,
  query: unknown,
): z.output<Schema> {
  const parsed = schema.safeParse(query);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(
    ({ path, message }) => `'${path.join(".")}': ${message}.`,
  );
  throw new ApiError(400, "INVALID_PARAMETER", problems.join(" "));
}
