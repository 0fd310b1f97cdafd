import { isIP } from "node:net";
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { Settings } from "../config/settings.ts";
import { ApiError } from "./api-error.ts";

// Browsers send requests to any server on behalf of any page. A page of another
// site must neither read nor change this one through its visitor.

type OwnNames = Pick<Settings, "allowedHosts" | "baseUrl" | "corsOrigins" | "host">;

/** Tells nothing that a page could use, and is asked for under names that nobody listed. */
const openPath = "/health";

/** Register it before whatever answers a request. */
export function refuseForeignPages(
  app: FastifyInstance,
  settings: OwnNames,
  { withKeys }: { readonly withKeys: boolean },
): void {
  app.addHook("onRequest", async (request) => {
    const [path] = request.url.split("?", 1);
    // A page that gets in under a name of its own has no key to send.
    if (!withKeys && path !== openPath) requireOwnHost(request, settings);
    if (!["GET", "HEAD", "OPTIONS"].includes(request.method)) requireSameSite(request, settings);
  });
}

/**
 * DNS rebinding: a page's own name is made to lead to this machine's address,
 * and to the browser the server is then a part of the page's site. Only `Host`
 * still says so. An address needs no list: no name leads to it.
 *
 * @throws ApiError if `Host` is a name that is not this server's
 */
function requireOwnHost(
  { headers }: FastifyRequest,
  { host, baseUrl, allowedHosts }: OwnNames,
): void {
  // HTTP/1.0 knows no Host. Every browser sends one.
  if (headers.host === undefined) return;
  const name = askedHost(headers.host)?.hostname.replace(/\.$/, "");
  const isAddress = name !== undefined && isIP(name.replace(/^\[(.*)\]$/, "$1")) !== 0;
  const own = [host, ...(baseUrl === undefined ? [] : [new URL(baseUrl).hostname])];
  const names = [
    "localhost",
    ".localhost",
    ...allowedHosts,
    ...own.map((one) => one.toLowerCase()),
  ];
  if (name !== undefined && (isAddress || names.some((known) => covers(known, name)))) return;
  throw new ApiError(
    421,
    "HOST_NOT_ALLOWED",
    "This server doesn't know itself by the name in the header 'Host'. Use localhost or an address; the operator allows further names with RETAKE_ALLOWED_HOSTS.",
  );
}

/** The `name:port` of a Host header, its name in lower case; undefined if it is none. */
export function askedHost(header: string | undefined): URL | undefined {
  if (header === undefined || /[\s/?#@\\]/.test(header)) return undefined;
  return URL.parse(`http://${header}`) ?? undefined;
}

/** `.example.com` stands for every name under it. */
function covers(known: string, name: string): boolean {
  return known.startsWith(".") ? name.endsWith(known) : name === known;
}

/**
 * @throws ApiError if a page of another origin sends it, and the operator doesn't allow that one
 */
export function requireSameSite(
  { headers }: FastifyRequest,
  { corsOrigins, baseUrl }: Pick<OwnNames, "baseUrl" | "corsOrigins">,
): void {
  const { origin, host } = headers;
  if (corsOrigins.includes("*")) return;
  if (origin === undefined) {
    // An image or a link sends no Origin; browsers say with this header that it stands on another site.
    if (!["cross-site", "same-site"].includes(String(headers["sec-fetch-site"]))) return;
  } else {
    if (corsOrigins.includes(origin)) return;
    const from = URL.parse(origin)?.host;
    const own = baseUrl === undefined ? undefined : new URL(baseUrl).host;
    if (from !== undefined && (from === host?.toLowerCase() || from === own)) return;
  }
  throw new ApiError(
    403,
    "ORIGIN_NOT_ALLOWED",
    "A page of another site can't do this here. The operator allows its origin with RETAKE_CORS_ORIGINS.",
  );
}
