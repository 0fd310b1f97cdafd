import type { PgBoss } from "pg-boss";
import { z } from "zod";
import type { JobFailure, JobImage, JobResult } from "../job/job.ts";
import { jobEventSchema } from "../job/job.ts";
import type { Sql } from "./database.ts";
import { addEvent } from "./events.ts";

/** pg-boss's queue of messages to clients: each is kept until it is delivered or given up. */
export const webhookQueue = "webhook";

export interface Ending {
  readonly id: string;
  readonly state: "succeeded" | "failed" | "canceled";
  /** The run that ended; without one, whichever is the last. */
  readonly attempt?: number;
  readonly result?: JobResult | null;
  readonly failure?: JobFailure | null;
}

/**
 * Writes how a request ended, its last event and the word to its client, all
 * or nothing. Final states never change: nothing happens if it has ended or
 * another run has begun.
 */
export async function endRequest(
  boss: PgBoss,
  sql: Sql,
  { id, state, attempt, result, failure }: Ending,
): Promise<void> {
  const made = result ?? null;
  const reason = made === null ? await withAnnounced(sql, id, failure ?? null) : null;
  const jsonOf = (value: object | null | undefined) =>
    value === null || value === undefined ? null : JSON.stringify(value);
  const [row] = await sql.query(
    `UPDATE retake.request SET state = $2, finished_at = clock_timestamp(), result = $3, failure = $4,
       sealed_token = NULL
     WHERE id = $1 AND finished_at IS NULL AND ($5::int IS NULL OR attempt = $5)
     RETURNING extra`,
    [id, state, jsonOf(made), jsonOf(reason), attempt ?? null],
  );
  if (row === undefined) return;
  await addEvent(sql, id, { type: "state", state });
  // Read here: Postgres reads nothing out of a value that holds U+0000, and a client's address may.
  const { extra } = z
    .object({ extra: z.object({ webhook_url: z.unknown().optional() }) })
    .parse(row);
  if (typeof extra.webhook_url === "string")
    await boss.send(webhookQueue, { id }, { db: sql.forPgBoss });
}

/**
 * Why a request ended without its result, with every picture that one of its
 * runs announced: they lie in the store, also where that run's worker died or
 * its node stopped.
 */
async function withAnnounced(
  sql: Sql,
  id: string,
  failure: JobFailure | null,
): Promise<JobFailure | null> {
  const rows = await sql.query(
    "SELECT data FROM retake.event WHERE request_id = $1 AND kind = 'image' ORDER BY id",
    [id],
  );
  const images = new Map<number, JobImage>();
  for (const { data } of rows) {
    const event = jobEventSchema.parse(data);
    if (event.type === "image") images.set(event.image.promptIndex, event.image);
  }
  for (const image of failure?.images ?? []) images.set(image.promptIndex, image);
  if (images.size === 0) return failure;
  const reason = failure ?? { code: "CANCELED", message: "Canceled.", promptIndex: null };
  const inOrder = [...images.values()].toSorted((a, b) => a.promptIndex - b.promptIndex);
  return { ...reason, images: inOrder };
}
