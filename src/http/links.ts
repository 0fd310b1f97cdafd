import type { FastifyRequest } from "fastify";
import type { Links } from "../wire/from-job.ts";
import type { AppContext } from "./context.ts";
import { askedHost } from "./foreign-pages.ts";

/**
 * What the links of an answer start with: BASE_URL, else the name and port by which this client
 * reached the server. A client on another machine can't follow a link to 127.0.0.1.
 */
export function linksFor(
  { headers }: FastifyRequest,
  { links, settings }: Pick<AppContext, "links" | "settings">,
): Links {
  const asked = settings.baseUrl === undefined ? askedHost(headers.host) : undefined;
  return asked === undefined ? links : { ...links, baseUrl: asked.origin };
}
