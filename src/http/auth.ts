import type { FastifyInstance, FastifyRequest } from "fastify";
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

/** Whose share of what all clients have in common a request takes. */
export function clientOf(request: FastifyRequest): string {
  return request.apiKey === undefined ? request.ip : `key ${request.apiKey.name}`;
}
