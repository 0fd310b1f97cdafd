import { z } from "zod";
import { jobKinds, jobStates } from "../job/job.ts";
import { models } from "../models/registry.ts";
import { uploadIdPattern } from "../wire/lora-answers.ts";
import { ApiError } from "./api-error.ts";

// What routes take in their queries: one table that they are read by and /openapi.json is made of.

export const requestIdPattern = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** @param after id of the last item of the page before */
function pageQuery(after: z.ZodString) {
  return { limit: z.coerce.number().int().min(1).max(100).default(20), after: after.optional() };
}

export const requestsQuery = z.object({
  status: z.enum(jobStates).optional(),
  model: z
    .string()
    .regex(/^[A-Za-z0-9_]{1,64}$/, "is no model id")
    .optional(),
  kind: z.enum(jobKinds).optional(),
  ...pageQuery(z.string().regex(requestIdPattern, "is no request id")),
});

export const uploadsQuery = z.object(
  pageQuery(z.string().regex(uploadIdPattern, "is no id of an upload")),
);

export const jobUploadsQuery = z.object(
  pageQuery(z.string().regex(requestIdPattern, "is no id of an uploaded folder")),
);

export const jobsQuery = z.object(pageQuery(z.string().max(4096)));

export const uploadQuery = z.object({ name: z.string().max(1000).optional() });

export const inspectQuery = z.object({ path: z.string().max(4096) });

export const explainQuery = z.object({
  sample: z.coerce.number().int().min(0).max(1_000_000).optional(),
  model: z.enum(models.map(({ id }) => id)).optional(),
});

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

/** What a page's client passes as `after` for the next one; null after the last. */
export function nextPage(ids: readonly string[], limit: number): string | null {
  return ids.length === limit ? (ids.at(-1) ?? null) : null;
}
