import type { Settings } from "../config/settings.ts";
import { messageOf } from "../errors.ts";
import { TransferError } from "../net/errors.ts";
import { webhookQueue } from "../queue/end-request.ts";
import type { Queue } from "../queue/queue.ts";
import { readReport } from "../storage/read-report.ts";
import type { ResultStore } from "../storage/results.ts";
import type { Links } from "../wire/from-job.ts";
import { resultBody } from "../wire/from-job.ts";
import { writeJson } from "../wire/python-json.ts";
import { deliverWebhook } from "./deliver.ts";

interface WebhookLog {
  readonly warn: (fields: object, message: string) => void;
}

/** Each message is kept in the queue, and tried again by pg-boss, until its receiver takes or refuses it. */
export async function sendWebhooks(
  { queue, results }: { readonly queue: Queue; readonly results: ResultStore },
  { webhookKey: key, webhooks, network }: Pick<Settings, "webhookKey" | "webhooks" | "network">,
  links: Links,
  log: WebhookLog,
): Promise<void> {
  if (key === undefined) return;
  const options = { pollingIntervalSeconds: 1 };
  await queue.boss.work<{ id: string }>(webhookQueue, options, async ([job]) => {
    const record = await queue.get(job!.data.id);
    const url = record?.extra.webhook_url;
    if (record === undefined || typeof url !== "string") return;
    const result = resultBody(record, links, await readReport(record.job, results));
    const message = { url, key, id: record.id, body: writeJson(result) };
    try {
      await deliverWebhook(message, { ...webhooks, network }, job!.signal);
    } catch (error) {
      const again = error instanceof TransferError && error.transient;
      log.warn({ request_id: record.id, again, error: messageOf(error) }, "webhook not delivered");
      if (again) throw error;
    }
  });
}
