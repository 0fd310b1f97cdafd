import { resolve } from "node:path";
import type { LinkSettings } from "../config/settings.ts";
import { InputError } from "../errors.ts";
import { hubListUrl, isToken, tokenOrigins } from "../hub/connection.ts";
import { TransferError } from "../net/errors.ts";
import { redactUrl } from "../net/redact.ts";
import { retryTransfers } from "../net/retry.ts";
import type { SafeRequest } from "../net/safe-fetch.ts";
import { cacheName, isWhole, trimCache, withCacheLock } from "./cache.ts";
import { downloadLora, type Progress } from "./download.ts";
import { hashFromHub, onlyFileOf } from "./hub-lora.ts";
import { isHub, parseLoraLink } from "./lora-path.ts";

/** Whether a login may help: hubs hide private files behind 404. */
function isNoAccess(error: unknown): error is TransferError {
  return error instanceof TransferError && [401, 403, 404].includes(error.status ?? 0);
}

/** What to do about a file that the other side does not give. */
function noAccess(
  url: string,
  cause: TransferError,
  { isHub, sentToken }: { isHub: boolean; sentToken: boolean },
): InputError {
  const what =
    cause.status === 404
      ? "is not there (HTTP status 404)"
      : `needs a login (HTTP status ${cause.status})`;
  return new InputError(`${redactUrl(url)} ${what}. ${remedy(cause.status, isHub, sentToken)}`, {
    cause,
  });
}

function remedy(status: number | undefined, isHub: boolean, sentToken: boolean): string {
  if (isHub && sentToken) {
    return "Check the link, that hf_token may read this repository, and that its account has accepted the conditions on the repository's page.";
  }
  if (isHub) {
    return "Check the link; for a private or gated repository send hf_token (or set HF_TOKEN), of an account that may read it and has accepted its conditions.";
  }
  return status === 404
    ? "Check the link."
    : "Put the site's own key into the link, or download the file and give its path.";
}

export interface ResolveOptions {
  /** Sent to the hub alone, and only for files that the hub does not give without a token. */
  readonly hfToken?: string;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: Progress) => void;
}

export interface ResolvedLora {
  /** Absolute path. It stays for at least 15 minutes: read it in that time. */
  readonly file: string;
  /** Whether it was there already. */
  readonly cached: boolean;
}

const retries = 4;
const headersMs = 30_000;
const idleMs = 30_000;

/**
 * The local file of a LoRA that is named by a link: from the cache if it is
 * there and whole, else downloaded.
 *
 * @throws InputError if the link or what it leads to can't be used
 * @throws TransferError if the download fails
 * @throws CanceledError at the signal
 */
export async function resolveLoraSource(
  link: string,
  settings: LinkSettings,
  options: ResolveOptions,
): Promise<ResolvedLora> {
  const parsed = parseLoraLink(link, settings.hub.endpoint);
  const end = performance.now() + settings.loraSource.totalMs;
  const download: Download = { settings, options, remainingMs: () => end - performance.now() };
  if (parsed.kind === "file") return await obtain(parsed.url, download);
  const repository = { ...parsed, hubEndpoint: settings.hub.endpoint };
  const url = await withTokenIfNeeded(hubListUrl(repository), download, (token) =>
    withRetries(download, token, (request) => onlyFileOf(repository, request)),
  );
  return await obtain(url, download);
}

interface Download {
  readonly settings: LinkSettings;
  readonly options: ResolveOptions;
  readonly remainingMs: () => number;
}

async function obtain(url: string, download: Download): Promise<ResolvedLora> {
  const { settings, options } = download;
  const { signal, onProgress } = options;
  const fileFor = (token?: string) => resolve(settings.loraSource.cacheDir, cacheName(url, token));
  const token = tokenFor(url, download);
  if (token !== undefined) {
    // Before the hub is asked without the token, to be refused once more.
    const file = fileFor(token);
    if (await withCacheLock(file, signal, (lockedSignal) => isWhole(file, lockedSignal)))
      return { file, cached: true };
  }
  const lora = await withTokenIfNeeded(url, download, (token) => {
    const file = fileFor(token);
    return withRetries(download, token, (request) =>
      withCacheLock(file, signal, async (lockedSignal, lock) => {
        // Another process may have come first.
        if (await isWhole(file, lockedSignal)) return { file, cached: true };
        await downloadLora({
          url,
          file,
          request: { ...request, signal: lockedSignal },
          hashOf: (hops) => hashFromHub(hops, settings.hub.endpoint),
          onProgress,
          lock,
        });
        return { file, cached: false };
      }),
    );
  });
  if (!lora.cached)
    await trimCache(settings.loraSource.cacheDir, settings.loraSource.cacheBytes, signal);
  return lora;
}

async function withRetries<T>(
  { settings, options: { signal }, remainingMs }: Download,
  token: string | undefined,
  attempt: (request: SafeRequest) => Promise<T>,
): Promise<T> {
  const request = (totalMs: number): SafeRequest => ({
    policy: settings.network,
    limits: { headersMs, idleMs, totalMs, bytes: settings.loraSource.fileBytes },
    signal,
    ...(token === undefined
      ? {}
      : {
          authorization: {
            value: `Bearer ${token}`,
            origins: tokenOrigins(settings.hub.endpoint),
          },
        }),
  });
  return await retryTransfers((totalMs) => attempt(request(totalMs)), {
    retries,
    firstWaitMs: settings.loraSource.retryMs,
    totalMs: remainingMs(),
    signal,
  });
}

/** First without the token: most files need none, and what needs none is shared in the cache. */
async function withTokenIfNeeded<T>(
  url: string,
  download: Download,
  attempt: (token: string | undefined) => Promise<T>,
): Promise<T> {
  const token = tokenFor(url, download);
  try {
    return await attempt(undefined).catch((error) => {
      if (token === undefined || !isNoAccess(error)) throw error;
      return attempt(token);
    });
  } catch (error) {
    if (!isNoAccess(error)) throw error;
    throw noAccess(url, error, {
      isHub: isHub(new URL(url), download.settings.hub.endpoint),
      sentToken: token !== undefined,
    });
  }
}

function tokenFor(url: string, { settings, options }: Download): string | undefined {
  const { hfToken } = options;
  if (hfToken === undefined || hfToken === "") return undefined;
  if (!tokenOrigins(settings.hub.endpoint).includes(new URL(url).origin)) return undefined;
  if (isToken(hfToken)) return hfToken;
  throw new InputError(
    "hf_token holds characters that no token has. Copy it again from the hub's page of access tokens.",
  );
}
