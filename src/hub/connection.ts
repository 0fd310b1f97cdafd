import type { SafeRequest } from "../net/safe-fetch.ts";
import type { HubSettings } from "../schema/hub.ts";
import { tokenOrigins } from "./urls.ts";

/** Whom to ask, and as whom. */
export interface HubConnection {
  readonly settings: HubSettings;
  readonly token: string | undefined;
  readonly signal: AbortSignal;
}

/** A hub that asks to wait longer is not waited for. Its limits count in windows of five minutes. */
export const longestWaitMs: number = 15 * 60_000;

/** A request that takes the token to the endpoint's origin alone, redirected or not. */
export function requestTo(
  { settings, token, signal }: HubConnection,
  limits: SafeRequest["limits"],
): SafeRequest {
  const { endpoint, network } = settings;
  return {
    policy: network,
    trustedOrigin: new URL(endpoint).origin,
    limits,
    signal,
    ...(token === undefined
      ? {}
      : { authorization: { value: `Bearer ${token}`, origins: tokenOrigins(endpoint) } }),
  };
}
