import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { Webhook } from "standardwebhooks";
import { expect, test } from "vitest";
import { serve } from "../../test/loopback.ts";
import type { NetworkPolicy, WebhookSettings } from "../config/network.ts";
import { signingKey } from "../config/signing-key.ts";
import { CanceledError, InputError } from "../errors.ts";
import { deliverWebhook } from "./deliver.ts";

const settings: WebhookSettings & { network: NetworkPolicy } = {
  totalMs: 300_000,
  retryMs: 5,
  network: { schemes: ["http"], ports: [], allow: ["127.0.0.1"] },
};
const secret = `whsec_${randomBytes(32).toString("base64")}`;
const key = signingKey.parse(secret)!;
const result = { request_id: "7d9c", status: "succeeded", prompt: "ein roter Kreis ○" };
const body = JSON.stringify(result);

interface Received {
  readonly headers: IncomingMessage["headers"];
  readonly text: string;
}

/** Answers with each status in turn, the last for ever. */
async function receiver(...statuses: number[]): Promise<{ url: string; received: Received[] }> {
  const received: Received[] = [];
  const url = await serve(async (request, response) => {
    received.push({ headers: request.headers, text: await text(request) });
    const status = statuses.length > 1 ? statuses.shift()! : statuses[0]!;
    if (status === 0) response.destroy();
    else response.writeHead(status, { location: "/elsewhere" }).end("private words");
  });
  return { url: `${url}/hook?key=s3cret`, received };
}

/** By the library that receivers use. */
function verify({ headers, text }: Received, key: string | Uint8Array): unknown {
  const webhook = typeof key === "string" ? new Webhook(key) : new Webhook(key, { format: "raw" });
  return webhook.verify(text, {
    "webhook-id": String(headers["webhook-id"]),
    "webhook-timestamp": String(headers["webhook-timestamp"]),
    "webhook-signature": String(headers["webhook-signature"]),
  });
}

test("a receiver verifies it with the standard's own library", async () => {
  const { url, received } = await receiver(204);
  await deliverWebhook({ url, key, body, id: "msg_1" }, settings);
  expect(received).toHaveLength(1);
  expect(verify(received[0]!, secret)).toEqual(result);
  expect(received[0]!.headers["webhook-id"]).toBe("msg_1");
  expect(received[0]!.headers["content-type"]).toBe("application/json");
  const other = `whsec_${randomBytes(32).toString("base64")}`;
  expect(() => verify(received[0]!, other)).toThrow("No matching signature");
  const changed = { ...received[0]!, text: received[0]!.text.replace("succeeded", "failed") };
  expect(() => verify(changed, secret)).toThrow("No matching signature");
});

test("the check in docs/webhooks.md works as it stands there", async () => {
  const page = readFileSync(new URL("../../docs/webhooks.md", import.meta.url), "utf8");
  const [, code] = /```js\n(.*?)```/s.exec(page)!;
  const source = encodeURIComponent(`${code}\nexport { isGenuine };`);
  const { isGenuine } = await import(/* @vite-ignore */ `data:text/javascript,${source}`);
  const { url, received } = await receiver(200);
  await deliverWebhook({ url, key, body, id: "msg_7" }, settings);
  const { headers, text } = received[0]!;
  expect(isGenuine(headers, text, secret)).toBe(true);
  expect(isGenuine(headers, `${text} `, secret)).toBe(false);
  expect(isGenuine({ ...headers, "webhook-timestamp": "1" }, text, secret)).toBe(false);
});

test("a secret that is plain text signs with its bytes", async () => {
  const { url, received } = await receiver(200);
  const plain = "correct horse battery staple";
  await deliverWebhook({ url, key: signingKey.parse(plain)!, body, id: "msg_2" }, settings);
  expect(verify(received[0]!, Buffer.from(plain))).toEqual(result);
});

test("busy, broken and silent receivers are tried again, with the same id", async () => {
  const { url, received } = await receiver(500, 0, 429, 503, 200);
  await deliverWebhook({ url, key, body, id: "msg_3" }, settings);
  expect(received.map(({ headers }) => headers["webhook-id"])).toEqual(Array(5).fill("msg_3"));
  for (const one of received) expect(verify(one, secret)).toEqual(result);
});

test.each([400, 401, 404, 410, 302])("status %d is final", async (status) => {
  const { url, received } = await receiver(status);
  const error = await deliverWebhook({ url, key, body, id: "msg_4" }, settings).catch(String);
  expect(error).toContain("TransferError");
  expect(error).not.toMatch(/s3cret|private words/);
  expect(received).toHaveLength(1);
});

test("it gives up after seven attempts, or when no further one fits into its time", async () => {
  const { url, received } = await receiver(500);
  const webhook = { url, key, body, id: "msg_5" };
  await expect(deliverWebhook(webhook, settings)).rejects.toThrow("HTTP status 500");
  expect(received).toHaveLength(7);
  const short = { ...settings, totalMs: 20_000, retryMs: 30_000 };
  await expect(deliverWebhook(webhook, short)).rejects.toThrow("HTTP status 500");
  expect(received).toHaveLength(8);
});

test("the signal ends the wait between two attempts", async () => {
  const { url } = await receiver(500);
  const slow = { ...settings, retryMs: 60_000 };
  const delivery = deliverWebhook({ url, key, body, id: "msg_6" }, slow, AbortSignal.timeout(100));
  await expect(delivery).rejects.toBeInstanceOf(CanceledError);
});

test("private addresses are refused", async () => {
  const { url, received } = await receiver(200);
  const strict = { ...settings, network: { ...settings.network, allow: [] } };
  await expect(deliverWebhook({ url, key, body, id: "m" }, strict)).rejects.toThrow(InputError);
  expect(received).toHaveLength(0);
});
