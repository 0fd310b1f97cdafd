import type { FastifyRequest } from "fastify";
import type { Settings } from "../schema/settings.ts";
import { ApiError } from "./api-error.ts";

/**
 * Browsers send forms and bare bytes to any server without asking it: a page
 * of another site must not fill this one through its visitor.
 *
 * @throws ApiError if a page of another origin sends it, and the operator doesn't allow that one
 */
export function requireSameSite(
  { headers }: FastifyRequest,
  { corsOrigins, baseUrl }: Pick<Settings, "corsOrigins" | "baseUrl">,
): void {
  const { origin, host } = headers;
  if (origin === undefined || corsOrigins.includes("*") || corsOrigins.includes(origin)) return;
  const from = URL.parse(origin)?.host;
  const own = baseUrl === undefined ? undefined : new URL(baseUrl).host;
  if (from !== undefined && (from === host || from === own)) return;
  throw new ApiError(
    403,
    "ORIGIN_NOT_ALLOWED",
    "A page of another site can't upload here. The operator allows its origin with RETAKE_CORS_ORIGINS.",
  );
}
