import { Agent, type Dispatcher, request as send } from "undici";
import type { NetworkPolicy } from "../config/network.ts";
import { CanceledError } from "../errors.ts";
import { RefusedUrlError, TooLargeError, TransferError } from "./errors.ts";
import { checkedLookup, checkRedirect, checkUrl, type Resolve } from "./policy.ts";
import { redactUrl } from "./redact.ts";
import { retryAfterMs } from "./retry.ts";

export interface SafeRequest {
  readonly policy: NetworkPolicy;
  /** An origin that the operator chose, such as a mirror on the LAN: outside of the policy. */
  readonly trustedOrigin?: string;
  readonly limits: Limits;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent to these origins (`https://host`) only, whatever redirects to where. */
  readonly authorization?: { readonly value: string; readonly origins: readonly string[] };
  /** Makes it a POST, which follows no redirect: nobody else is to get the body. */
  readonly body?: string;
  readonly signal?: AbortSignal;
  readonly resolve?: Resolve;
}

interface Limits {
  /** From the start of a hop to the end of its headers. */
  readonly headersMs: number;
  /** Between two pieces of the body. */
  readonly idleMs: number;
  /** All hops and the body. */
  readonly totalMs: number;
  /** Of the body. */
  readonly bytes: number;
}

/** What one address answered. */
export interface Hop {
  readonly url: URL;
  readonly header: (name: string) => string | undefined;
}

export interface SafeResponse {
  readonly status: number;
  /** Every address on the way, this answer's own at the end. */
  readonly hops: readonly Hop[];
  readonly header: (name: string) => string | undefined;
  /** Fails when it breaks a limit. */
  readonly body: AsyncIterable<Uint8Array>;
}

const mostRedirects = 5;
const redirectStatuses: readonly number[] = [301, 302, 303, 307, 308];

/**
 * Requests a URL that somebody else chose and hands the answer to `use`. Every
 * hop is checked against the policy by name before, and by address while, it
 * connects. The connection ends with `use`, read to its end or not.
 *
 * @throws RefusedUrlError if the policy forbids the URL or one that it redirects to
 * @throws TransferError if the transfer fails or breaks a limit
 * @throws CanceledError at the signal
 */
export async function safeFetch<T>(
  link: string,
  request: SafeRequest,
  use: (response: SafeResponse) => Promise<T>,
): Promise<T> {
  const stop = new AbortController();
  const deadline = failAfter(request.limits.totalMs, stop, link, "in all");
  const forward = () => stop.abort(new CanceledError());
  request.signal?.addEventListener("abort", forward);
  if (request.signal?.aborted === true) forward();
  try {
    let url = isTrusted(link, request) ? new URL(link) : checkUrl(link, request.policy);
    const hops: Hop[] = [];
    for (let redirects = 0; redirects <= mostRedirects; redirects++) {
      const agent = agentFor(url, request);
      try {
        const response = await answer(url, agent, request, stop);
        hops.push({ url, header: (name) => headerOf(response, name) });
        const next = redirectTarget(url, response, request);
        if (next === undefined) return await use(checkedResponse(hops, response, request, stop));
        url = next;
      } finally {
        await agent.destroy();
      }
    }
    throw new TransferError(
      `${redactUrl(link)} redirects more than ${mostRedirects} times. Give the last address itself.`,
      { transient: false },
    );
  } finally {
    clearTimeout(deadline);
    request.signal?.removeEventListener("abort", forward);
  }
}

/** Whether it is the operator's own choice and holds no login. */
function isTrusted(link: string, { trustedOrigin }: SafeRequest): boolean {
  const url = URL.parse(link);
  return url?.origin === trustedOrigin && url?.username === "" && url.password === "";
}

/** One for each hop: a pooled connection would have been checked for another request. */
function agentFor(url: URL, request: SafeRequest): Agent {
  const { policy, limits, resolve } = request;
  const timeout = limits.headersMs;
  return new Agent({
    connect: isTrusted(url.href, request)
      ? { timeout }
      : { lookup: checkedLookup(url, policy, resolve), timeout },
    // Not HTTP/2: the header limits below hold for one answer on one connection.
    allowH2: false,
    maxHeaderSize: 32_768,
    // Ours are exact and name the URL.
    headersTimeout: 0,
    bodyTimeout: 0,
  });
}

async function answer(
  url: URL,
  agent: Agent,
  { headers, authorization, body, limits }: SafeRequest,
  stop: AbortController,
): Promise<Dispatcher.ResponseData> {
  const timer = failAfter(limits.headersMs, stop, url, "to answer");
  const authorized = authorization?.origins.includes(url.origin) === true;
  try {
    return await send(url, {
      dispatcher: agent,
      method: body === undefined ? "GET" : "POST",
      headers: {
        // What is counted and checked is what was sent: no decompression here.
        "accept-encoding": "identity",
        "user-agent": "retake",
        ...headers,
        ...(authorized ? { authorization: authorization.value } : {}),
      },
      ...(body === undefined ? {} : { body }),
      signal: stop.signal,
    });
  } catch (error) {
    throw transferError(error, url, stop);
  } finally {
    clearTimeout(timer);
  }
}

/** Where the answer sends us, checked like the first URL; undefined if nowhere. */
function redirectTarget(
  url: URL,
  response: Dispatcher.ResponseData,
  request: SafeRequest,
): URL | undefined {
  if (!redirectStatuses.includes(response.statusCode)) return undefined;
  const location = headerOf(response, "location");
  const target = location === undefined ? null : URL.parse(location, url.href);
  if (target === null || request.body !== undefined) {
    throw new TransferError(
      `${redactUrl(url)} redirects elsewhere, which is not followed here. Give the last address itself.`,
      { transient: false },
    );
  }
  const stays = target.origin === url.origin && isTrusted(target.href, request);
  return stays ? target : checkRedirect(url, target, request.policy);
}

function checkedResponse(
  hops: readonly Hop[],
  response: Dispatcher.ResponseData,
  { limits }: SafeRequest,
  stop: AbortController,
): SafeResponse {
  const { url, header } = hops.at(-1)!;
  return {
    status: response.statusCode,
    hops,
    header,
    body: boundedBody(url, response, limits, stop),
  };
}

async function* boundedBody(
  url: URL,
  response: Dispatcher.ResponseData,
  { bytes, idleMs }: Limits,
  stop: AbortController,
): AsyncGenerator<Uint8Array> {
  const encoding = headerOf(response, "content-encoding") ?? "identity";
  if (encoding.toLowerCase() !== "identity") {
    throw new TransferError(
      `${redactUrl(url)} sends compressed data though plain data was asked for. Use another link.`,
      { transient: false },
    );
  }
  const tooLarge = () =>
    new TooLargeError(
      `${redactUrl(url)} is larger than the ${bytes} bytes allowed here. Use a smaller file, or ask the operator to raise the limit.`,
      { transient: false },
    );
  if (Number(headerOf(response, "content-length") ?? 0) > bytes) throw tooLarge();

  const chunks = response.body[Symbol.asyncIterator]();
  for (let received = 0; ; ) {
    const timer = failAfter(idleMs, stop, url, "to send more");
    let next: IteratorResult<Uint8Array>;
    try {
      next = await chunks.next();
    } catch (error) {
      throw transferError(error, url, stop);
    } finally {
      clearTimeout(timer);
    }
    if (next.done === true) return;
    received += next.value.length;
    if (received > bytes) throw tooLarge();
    yield next.value;
  }
}

function headerOf({ headers }: Dispatcher.ResponseData, name: string): string | undefined {
  const value = headers[name];
  // A header that came several times: the first counts.
  return Array.isArray(value) ? value[0] : value;
}

function failAfter(
  ms: number,
  stop: AbortController,
  url: string | URL,
  what: string,
): NodeJS.Timeout {
  return setTimeout(() => {
    stop.abort(
      new TransferError(`${redactUrl(url)} took longer than ${ms / 1000} s ${what}. Try again.`, {
        transient: true,
      }),
    );
  }, ms);
}

/** What undici throws for one failure varies; the signal and the refusal of an address go first. */
function transferError(error: unknown, url: URL, stop: AbortController): Error {
  if (stop.signal.aborted) return stop.signal.reason;
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof RefusedUrlError) return cause;
  }
  const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
  const permanent = code === "ENOTFOUND" || /CERT|TLS|SSL|SELF_SIGNED|SIGNATURE/.test(code);
  return new TransferError(
    `${redactUrl(url)} can't be read: the connection failed or was cut (${code}). Check the link and try again.`,
    { transient: !permanent, cause: error },
  );
}

/** The error for a status that is not a success. */
export function statusError(url: string, { status, header }: SafeResponse): TransferError {
  const transient = status === 408 || status === 425 || status === 429 || status >= 500;
  return new TransferError(`${redactUrl(url)} answered with HTTP status ${status}.`, {
    transient,
    status,
    retryAfterMs: retryAfterMs(header("retry-after"), Date.now()),
  });
}
