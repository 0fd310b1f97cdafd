import type { LookupFunction } from "node:net";
import { isIP } from "node:net";
import type { Dispatcher } from "undici";
import { Agent, request } from "undici";
import { InputError } from "../errors.ts";
import type { AddressRange, Lookup } from "./addresses.ts";
import { isAllowedAddress, lookupAll } from "./addresses.ts";
import { redactUrl } from "./redact.ts";

/** A URL that must not be followed, or that gave no usable answer. Its message holds no secret. */
export class FetchError extends InputError {
  /** Another try may go well. */
  readonly transient: boolean;

  constructor(url: string, what: string, transient: boolean, options?: ErrorOptions) {
    super(`${redactUrl(url)} ${what}`, options);
    this.transient = transient;
  }
}

export interface FetchPolicy {
  /** Beyond the public internet. */
  readonly allowed: readonly AddressRange[];
  /** Whoever is on the way can exchange what plain http brings. */
  readonly allowHttp: boolean;
  readonly lookup?: Lookup;
}

export interface SafeRequest {
  readonly method: "GET" | "POST";
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent to this host alone, never along a redirect to another. */
  readonly authorization?: { readonly host: string; readonly value: string } | undefined;
  readonly body?: string;
  readonly signal: AbortSignal;
}

export type SafeResponse = Dispatcher.ResponseData & { readonly url: string };

const mostRedirects = 5;
const connectMilliseconds = 15_000;
const headersMilliseconds = 60_000;
/** A body that stands still for so long is given up. */
const idleMilliseconds = 60_000;

/** Fetches URLs that strangers give: every address is checked when it is connected to, at each redirect again. */
export class SafeFetcher {
  readonly #policy: FetchPolicy;
  readonly #agent: Agent;

  constructor(policy: FetchPolicy) {
    this.#policy = policy;
    this.#agent = new Agent({
      connect: { lookup: checkedLookup(policy), timeout: connectMilliseconds },
      headersTimeout: headersMilliseconds,
      bodyTimeout: idleMilliseconds,
      maxHeaderSize: 32 * 1024,
      pipelining: 1,
    });
  }

  /** @throws FetchError; the answer's status is the caller's business */
  async fetch(start: string, options: SafeRequest): Promise<SafeResponse> {
    let url = start;
    for (let hop = 0; hop <= mostRedirects; hop++) {
      const response = await this.#send(url, options);
      if (![301, 302, 303, 307, 308].includes(response.statusCode)) return { ...response, url };
      const { location } = response.headers;
      await response.body.dump();
      if (typeof location !== "string" || !URL.canParse(location, url))
        throw new FetchError(start, "redirects to nowhere.", false);
      // A POST goes where it was sent, or not at all.
      if (options.method === "POST")
        throw new FetchError(start, "redirects, and a POST doesn't follow.", false);
      const next = new URL(location, url).href;
      if (url.startsWith("https:") && next.startsWith("http:"))
        throw new FetchError(start, "redirects from https to http.", false);
      url = next;
    }
    throw new FetchError(start, `redirects more than ${mostRedirects} times.`, false);
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  async #send(url: string, options: SafeRequest): Promise<Dispatcher.ResponseData> {
    this.#check(url);
    const { method, headers, authorization, body, signal } = options;
    const { host } = new URL(url);
    try {
      return await request(url, {
        method,
        dispatcher: this.#agent,
        signal,
        headers: {
          "user-agent": "retake",
          "accept-encoding": "identity",
          ...headers,
          ...(authorization?.host === host ? { authorization: authorization.value } : {}),
        },
        ...(body === undefined ? {} : { body }),
      });
    } catch (error) {
      if (signal.aborted || error instanceof FetchError) throw error;
      const refused = error instanceof Error && error.cause instanceof FetchError;
      if (refused) throw error.cause;
      const code = error instanceof Error && "code" in error ? String(error.code) : "no answer";
      throw new FetchError(url, `can't be reached (${code}).`, true, { cause: error });
    }
  }

  #check(url: string): void {
    if (!URL.canParse(url)) throw new FetchError(url, "is no URL.", false);
    const { protocol, hostname } = new URL(url);
    if (protocol !== "https:" && !(protocol === "http:" && this.#policy.allowHttp)) {
      const advice =
        protocol === "http:" ? " Its operator can allow http with RETAKE_ALLOW_HTTP." : "";
      throw new FetchError(url, `is not https, which this server asks for.${advice}`, false);
    }
    // The URL parser has turned 0x7f.1 and 2130706433 into 127.0.0.1; brackets stand around IPv6.
    const literal = hostname.replace(/^\[|\]$/g, "");
    if (isIP(literal) !== 0) this.#checkAddress(url, literal);
  }

  #checkAddress(url: string, address: string): void {
    if (!isAllowedAddress(address, this.#policy.allowed)) throw privateAddress(url);
  }
}

function privateAddress(url: string): FetchError {
  return new FetchError(
    url,
    "leads to a private address, which this server doesn't fetch from. Its operator can allow it with RETAKE_ALLOW_ADDRESSES.",
    false,
  );
}

/** The connection goes to the very addresses that were checked: a second answer of the name server is never asked for. */
function checkedLookup({ allowed, lookup = lookupAll }: FetchPolicy): LookupFunction {
  return (host, options, callback) => {
    lookup(host).then(
      (addresses) => {
        const bad = addresses.find(({ address }) => !isAllowedAddress(address, allowed));
        const [first] = addresses;
        if (bad !== undefined || first === undefined) {
          callback(privateAddress(`https://${host}`), "", 0);
        } else if (options.all === true) callback(null, [...addresses]);
        else callback(null, first.address, first.family);
      },
      (error: NodeJS.ErrnoException) => callback(error, "", 0),
    );
  };
}
