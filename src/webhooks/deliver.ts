import { createHmac } from "node:crypto";
import type { NetworkPolicy, WebhookSettings } from "../config/network.ts";
import { retryTransfers } from "../net/retry.ts";
import { safeFetch, statusError } from "../net/safe-fetch.ts";

interface Webhook {
  readonly url: string;
  /** Shared with the receiver. */
  readonly key: Buffer;
  /** JSON. */
  readonly body: string;
  /** The same at each attempt and each later delivery: the receiver drops what it has seen. */
  readonly id: string;
}

const retries = 6;
const attemptMs = 15_000;

/**
 * Posts a signed notice, as Standard Webhooks says, until the receiver takes it.
 * https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 *
 * @throws InputError if the URL is refused
 * @throws TransferError if the receiver did not take it in time
 * @throws CanceledError at the signal
 */
export async function deliverWebhook(
  { url, key, body, id }: Webhook,
  { network, totalMs, retryMs }: WebhookSettings & { readonly network: NetworkPolicy },
  signal?: AbortSignal,
): Promise<void> {
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
