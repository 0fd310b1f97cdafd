import type { FastifyReply, FastifyRequest } from "fastify";
import { clientOf, ownerOf } from "./auth.ts";

/** Who asks, and the signal that he has gone. */
export interface Sender {
  readonly owner: string;
  readonly client: string;
  readonly signal: AbortSignal;
}

export function senderOf(request: FastifyRequest, reply: FastifyReply): Sender {
  const gone = new AbortController();
  // The answer's, not the connection's: that may serve a thousand further requests.
  reply.raw.once("close", () => gone.abort());
  // Gone already: it would never say so again.
  if (reply.raw.destroyed) gone.abort();
  return { owner: ownerOf(request), client: clientOf(request), signal: gone.signal };
}
