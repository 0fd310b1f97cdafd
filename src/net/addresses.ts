import type { LookupAddress } from "node:dns";
import { lookup as systemLookup } from "node:dns/promises";
import ipaddr from "ipaddr.js";
import { InputError } from "../errors.ts";

/** Looks a host name up: all its addresses. */
export type Lookup = (host: string) => Promise<readonly LookupAddress[]>;

export const lookupAll: Lookup = (host) => systemLookup(host, { all: true, verbatim: true });

/** Addresses that the operator lets untrusted URLs reach, as CIDR ranges. @throws InputError */
export function parseRanges(ranges: readonly string[]): AddressRange[] {
  return ranges.map((range) => {
    try {
      return ipaddr.parseCIDR(range.includes("/") ? range : `${range}/${bitsOf(range)}`);
    } catch (error) {
      throw new InputError(
        `RETAKE_ALLOW_ADDRESSES: ${JSON.stringify(range)} is no address or CIDR range. Write it like 10.0.0.0/8.`,
        { cause: error },
      );
    }
  });
}

export type AddressRange = ReturnType<typeof ipaddr.parseCIDR>;

function bitsOf(address: string): number {
  return ipaddr.parse(address).kind() === "ipv4" ? 32 : 128;
}

/** The last 4 bytes of these hold an IPv4 address that a gateway may send the packet to. */
const translated = ["64:ff9b::/96", "64:ff9b:1::/48", "::/96"].map((range) =>
  ipaddr.IPv6.parseCIDR(range),
);

/**
 * Whether an address is one of the public internet, or allowed by the operator.
 * Everything else, this machine and its neighbours, is not for URLs that
 * strangers give.
 */
export function isAllowedAddress(text: string, allowed: readonly AddressRange[]): boolean {
  // `process` turns an IPv4 address in IPv6's clothes (::ffff:127.0.0.1) into IPv4.
  const address = ipaddr.process(text);
  const permitted = allowed.some(
    ([range, bits]) => range.kind() === address.kind() && address.match(range, bits),
  );
  if (permitted) return true;
  if (address.kind() === "ipv6") {
    const inV6 = ipaddr.IPv6.parse(address.toString());
    if (translated.some(([range, bits]) => inV6.match(range, bits))) return false;
  }
  return address.range() === "unicast";
}
