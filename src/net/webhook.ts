import { createHmac } from "node:crypto";
import type { SafeFetcher } from "./safe-fetch.ts";
import { FetchError } from "./safe-fetch.ts";

export interface Webhook {
  readonly url: string;
  readonly secret: string;
  /** The same at each try: receivers tell by it that they have seen the message. */
  readonly id: string;
  readonly body: string;
}

/**
 * Sends a message, signed as https://www.standardwebhooks.com asks: HMAC-SHA256
 * over `id.timestamp.body`.
 *
 * @throws FetchError unless the receiver answers 2xx
 */
export async function deliverWebhook(
  fetcher: SafeFetcher,
  { url, secret, id, body }: Webhook,
  signal: AbortSignal,
): Promise<void> {
  const timestamp = String(Math.floor(Date.now() / 1000));
  const response = await fetcher.fetch(url, {
    method: "POST",
    signal,
    body,
    headers: {
      "content-type": "application/json",
      "webhook-id": id,
      "webhook-timestamp": timestamp,
      "webhook-signature": signatureOf(secret, `${id}.${timestamp}.${body}`),
    },
  });
  await response.body.dump();
  const { statusCode } = response;
  if (statusCode < 200 || statusCode >= 300) {
    throw new FetchError(url, `answers ${statusCode}.`, statusCode >= 500 || statusCode === 429);
  }
}

function signatureOf(secret: string, message: string): string {
  return `v1,${createHmac("sha256", secret).update(message).digest("base64")}`;
}
