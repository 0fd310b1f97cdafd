import { readFile } from "node:fs/promises";
import type { HubSettings } from "../config/hub.ts";
import type { NetworkPolicy } from "../config/network.ts";
import { tokenPattern } from "../config/values.ts";
import { InputError } from "../errors.ts";
import type { SafeRequest } from "../net/safe-fetch.ts";

/** Whether a text can be a token: what can't go into a header is none. */
export function isToken(text: string): boolean {
  return tokenPattern.test(text);
}

/** The origins that a token of the hub may be sent to. */
export function tokenOrigins(hubEndpoint: string): string[] {
  const { origin } = new URL(hubEndpoint);
  return origin === "https://huggingface.co" ? [origin, "https://www.huggingface.co"] : [origin];
}

/** A repository of the hub at one of its revisions. */
export interface HubRepository {
  readonly hubEndpoint: string;
  readonly repository: string;
  readonly revision: string;
}

/** Where one file of a repository is. */
export function hubFileUrl(
  { hubEndpoint, repository, revision }: HubRepository,
  file: string,
): string {
  const path = file.split("/").map(encodeURIComponent).join("/");
  return `${withoutSlash(hubEndpoint)}/${repository}/resolve/${encodeURIComponent(revision)}/${path}`;
}

/** Where the hub says what a repository holds. */
export function hubListUrl({ hubEndpoint, repository, revision }: HubRepository): string {
  return `${withoutSlash(hubEndpoint)}/api/models/${repository}/revision/${encodeURIComponent(revision)}`;
}

function withoutSlash(url: string): string {
  return url.replace(/\/+$/, "");
}

/**
 * The operator's token: HF_TOKEN, else what `hf auth login` has kept.
 *
 * @throws InputError if it can't be one, without showing it
 */
export async function readHubToken({ token, tokenFile }: HubSettings): Promise<string | undefined> {
  if (token !== undefined) return token;
  const text = (await readFile(tokenFile, "utf8").catch(missing)).trim();
  if (text === "") return undefined;
  if (isToken(text)) return text;
  throw new InputError(
    `${tokenFile} holds characters that no token has. Copy it again from the hub's page of access tokens.`,
  );
}

function missing(error: unknown): string {
  if (error instanceof Error && "code" in error && error.code === "ENOENT") return "";
  throw new InputError(
    "the file with the hub's token can't be read (HF_TOKEN_PATH, or token in HF_HOME). Let this user read it, or set HF_TOKEN.",
    { cause: error },
  );
}

/** Whom to ask, and as whom. */
export interface HubConnection {
  readonly settings: HubSettings;
  readonly network: NetworkPolicy;
  readonly token: string | undefined;
  readonly signal: AbortSignal;
}

/** A hub that asks to wait longer is not waited for. Its limits count in windows of five minutes. */
export const longestWaitMs: number = 15 * 60_000;

/** A request that takes the token to the endpoint's origin alone, redirected or not. */
export function requestTo(
  { settings: { endpoint }, network, token, signal }: HubConnection,
  limits: SafeRequest["limits"],
): SafeRequest {
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
