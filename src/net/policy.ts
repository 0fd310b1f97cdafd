import type { LookupAddress } from "node:dns";
import { lookup } from "node:dns/promises";
import type { LookupFunction } from "node:net";
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";
import type { NetworkPolicy } from "../config/network.ts";
import { RefusedUrlError } from "./errors.ts";
import { redactUrl } from "./redact.ts";

/** The addresses given out to hosts of the internet so far: https://www.iana.org/assignments/ipv6-unicast-address-assignments */
const globalIpv6 = ipaddr.IPv6.parseCIDR("2000::/3");

/**
 * Whether an address belongs to the public internet. Addresses that carry an
 * IPv4 address inside (mapped, compatible, NAT64, 6to4, Teredo) don't: they are
 * another way to write a private one.
 */
export function isPublicAddress(address: string): boolean {
  if (isIP(address) === 0) return false;
  const parsed = ipaddr.parse(address);
  if (parsed.range() !== "unicast") return false;
  // ipaddr.js calls unicast what it has no name for, `::127.0.0.1` among them.
  return parsed.kind() === "ipv4" || parsed.match(globalIpv6);
}

/** Whether the operator's list names this address, alone or within a range. */
export function isListedAddress(address: string, list: readonly string[]): boolean {
  if (isIP(address) === 0) return false;
  const parsed = ipaddr.parse(address);
  return list.some((entry) => {
    const [start, prefix] = entry.split("/");
    if (start === undefined || isIP(start) === 0) return false;
    const first = ipaddr.parse(start);
    if (first.kind() !== parsed.kind()) return false;
    const bits = prefix === undefined ? first.toByteArray().length * 8 : Number(prefix);
    return parsed.match(first, bits);
  });
}

/** Whether a list names this host, itself or as `.example.com`. */
export function isListedHost(host: string, list: readonly string[]): boolean {
  return list.some((entry) => (entry.startsWith(".") ? host.endsWith(entry) : host === entry));
}

/** Longer ones only serve to fill logs and tables. */
const longestUrl = 8192;

/**
 * What can be told of a URL before its name is looked up. The parser has
 * turned other spellings of an IPv4 address (decimal, octal, hexadecimal,
 * short) into the usual one by then.
 *
 * @throws RefusedUrlError saying what the policy does not allow
 */
export function checkUrl(text: string, policy: NetworkPolicy): URL {
  const url = text.length > longestUrl ? null : URL.parse(text);
  if (url === null) {
    throw new RefusedUrlError(
      `the link is not a URL of at most ${longestUrl} characters. Give a whole one, https://… included.`,
    );
  }
  if (!policy.schemes.some((scheme) => url.protocol === `${scheme}:`)) {
    throw refused(
      url,
      `${url.protocol} links are not allowed here`,
      `use ${policy.schemes.join(" or ")}`,
    );
  }
  if (url.username !== "" || url.password !== "") {
    throw refused(url, "it holds a user name or a password", "take them out");
  }
  const host = hostOf(url);
  const known = knownAddresses(host);
  if (known.length > 0 && !known.some((address) => isReachable(host, address, policy))) {
    throw refusedAddress(url);
  }
  if (!policy.ports.includes(portOf(url)) && !isListed(host, policy)) {
    throw refused(
      url,
      `port ${portOf(url)} is not allowed here`,
      `use one of ${policy.ports.join(", ")}`,
    );
  }
  return url;
}

/**
 * Where a redirect leads, checked like the first URL.
 *
 * @throws RefusedUrlError also if it gives up TLS
 */
export function checkRedirect(from: URL, to: URL, policy: NetworkPolicy): URL {
  const next = checkUrl(to.href, policy);
  if (from.protocol !== "https:" || next.protocol === "https:") return next;
  throw refused(from, "it redirects to an address without TLS", "give a link that stays on https");
}

/** Whether `address`, found for `host`, may be connected to. */
function isReachable(host: string, address: string, policy: NetworkPolicy): boolean {
  return (
    isPublicAddress(address) ||
    isListedAddress(address, policy.allow) ||
    isListedHost(host, policy.allow)
  );
}

/** The same words for every private network: an answer must not help to map one. */
function refusedAddress(url: URL): RefusedUrlError {
  return refused(
    url,
    "its host is not on the public internet (a private, local or reserved address)",
    "use a public one, or ask the operator to allow it",
  );
}

function refused(url: URL, what: string, remedy: string): RefusedUrlError {
  return new RefusedUrlError(`${redactUrl(url)} is refused: ${what}. Please ${remedy}.`);
}

function isListed(host: string, { allow }: NetworkPolicy): boolean {
  return isListedHost(host, allow) || isListedAddress(host, allow);
}

/** Of an address, and of the names that mean this machine whatever a resolver says: RFC 6761, 6.3. */
function knownAddresses(host: string): string[] {
  if (isIP(host) !== 0) return [host];
  return /^(?:.*\.)?localhost$/.test(host) ? ["127.0.0.1", "::1"] : [];
}

/** Without the brackets of IPv6 and the dot at the end that names the same host. */
function hostOf(url: URL): string {
  return url.hostname.replace(/^\[(.*)\]$/, "$1").replace(/\.$/, "");
}

function portOf(url: URL): number {
  if (url.port !== "") return Number(url.port);
  return url.protocol === "https:" ? 443 : 80;
}

/** All addresses of a host name. */
export type Resolve = (host: string) => Promise<readonly LookupAddress[]>;

const systemResolve: Resolve = (host) => lookup(host, { all: true, verbatim: true });

/**
 * The look-up that a socket makes for its own connection. It gives the socket
 * checked addresses only, and nothing resolves the name a second time: a name
 * that changes between a check and the connection gains nothing.
 */
export function checkedLookup(
  url: URL,
  policy: NetworkPolicy,
  resolve: Resolve = systemResolve,
): LookupFunction {
  return (host, options, callback) => {
    resolve(host).then(
      (found) => {
        const reachable = found.filter(({ address }) =>
          isReachable(host.replace(/\.$/, ""), address, policy),
        );
        const [first] = reachable;
        if (first === undefined) callback(refusedAddress(url), [], 0);
        else if (options.all === true) callback(null, reachable);
        else callback(null, first.address, first.family);
      },
      (error) => callback(error, [], 0),
    );
  };
}
