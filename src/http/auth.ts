import type { FastifyInstance, FastifyRequest } from "fastify";
import type { Settings } from "../config/settings.ts";
import { ApiError } from "./api-error.ts";
import type { ApiKey, ApiKeys } from "./api-keys.ts";

declare module "fastify" {
  interface FastifyRequest {
    /** The key that the request came with; undefined where none is asked for. */
    apiKey?: ApiKey;
  }
}

/** With keys, everything under /v1/ and the metrics need one: `Authorization: Bearer KEY` or `X-API-Key: KEY`. */
export function requireKeys(app: FastifyInstance, keys: ApiKeys | undefined): void {
  if (keys === undefined) return;
  app.addHook("onRequest", async (request) => {
    const [path] = request.url.split("?", 1);
    if (request.method === "OPTIONS" || !(path!.startsWith("/v1/") || path === "/metrics")) return;
    const key = keys.find(secretOf(request));
    if (key === undefined) {
      throw new ApiError(
        401,
        "UNAUTHORIZED",
        "This server asks for an API key: send it as 'Authorization: Bearer KEY'.",
        {},
        { "www-authenticate": "Bearer" },
      );
    }
    request.apiKey = key;
  });
}

function secretOf({ headers }: FastifyRequest): string {
  const bearer = /^Bearer +(\S+)$/i.exec(headers.authorization ?? "")?.[1];
  const plain = headers["x-api-key"];
  return bearer ?? (typeof plain === "string" ? plain : "");
}

/** Requests belong to the key they came with; without keys, to everybody. */
export function ownerOf(request: FastifyRequest): string {
  return request.apiKey?.name ?? "";
}

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
