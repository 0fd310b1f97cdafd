import { createHmac } from "node:crypto";
import type { WebhookSettings } from "../config/network.ts";
import { InputError } from "../errors.ts";
import { retryTransfers } from "./retry.ts";
import { safeFetch, statusError } from "./safe-fetch.ts";

interface Webhook {
  readonly url: string;
  /** Shared with the receiver: text, or base64 after `whsec_`. */
  readonly secret: string;
  /** JSON. */
  readonly body: string;
  /** The same at each attempt and each later delivery: the receiver drops what it has seen. */
  readonly id: string;
}

const retries = 6;
const attemptMs = 15_000;
/** A shorter key could be found by trying. */
const shortestKey = 16;

/**
 * Posts a signed notice, as Standard Webhooks says, until the receiver takes it.
 * https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 *
 * @throws InputError if the secret can't be used or the URL is refused
 * @throws TransferError if the receiver did not take it in time
 * @throws CanceledError at the signal
 */
export async function deliverWebhook(
  { url, secret, body, id }: Webhook,
  { network, totalMs, retryMs }: WebhookSettings,
  signal?: AbortSignal,
): Promise<void> {
  const key = signingKey(secret);
  const stoppable = signal === undefined ? {} : { signal };
  const attempt = async (remainingMs: number) => {
    // Of each attempt: receivers refuse old ones, which somebody may have recorded.
    const timestamp = Math.floor(Date.now() / 1000).toString();
    const signature = createHmac("sha256", key).update(`${id}.${timestamp}.${body}`);
    const headers = {
      "content-type": "application/json",
      "webhook-id": id,
      "webhook-timestamp": timestamp,
      "webhook-signature": `v1,${signature.digest("base64")}`,
    };
    const limits = {
      headersMs: attemptMs,
      idleMs: attemptMs,
      totalMs: Math.min(attemptMs, remainingMs),
      bytes: 0,
    };
    await safeFetch(
      url,
      { policy: network, limits, headers, body, ...stoppable },
      async (response) => {
        if (response.status < 200 || response.status > 299) throw statusError(url, response);
      },
    );
  };
  await retryTransfers(attempt, { retries, firstWaitMs: retryMs, totalMs, ...stoppable });
}

function signingKey(secret: string): Buffer {
  const [, base64] = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(secret) ?? [];
  const key = base64 === undefined ? Buffer.from(secret, "utf8") : Buffer.from(base64, "base64");
  if (key.length >= shortestKey) return key;
  throw new InputError(
    `the webhook secret has ${key.length} bytes, and ${shortestKey} is the least. Make one: openssl rand -base64 32, with whsec_ before it.`,
  );
}
