import { isIP } from "node:net";
import ipaddr from "ipaddr.js";

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
