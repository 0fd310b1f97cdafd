import type { LookupAddress } from "node:dns";
import { lookup } from "node:dns/promises";
import type { LookupFunction } from "node:net";
import type { NetworkPolicy } from "../schema/network.ts";
import { isReachable, refusedAddress } from "./check-url.ts";

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
