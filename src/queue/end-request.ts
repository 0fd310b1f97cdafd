import type { PgBoss } from "pg-boss";
import { z } from "zod";
import type { JobFailure, JobResult } from "../job/job.ts";
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
  const jsonOf = (value: object | null | undefined) =>
    value === null || value === undefined ? null : JSON.stringify(value);
  const [row] = await sql.query(
    `UPDATE retake.request SET state = $2, finished_at = clock_timestamp(), result = $3, failure = $4,
       sealed_token = NULL
     WHERE id = $1 AND finished_at IS NULL AND ($5::int IS NULL OR attempt = $5)
     RETURNING extra`,
    [id, state, jsonOf(result), jsonOf(failure), attempt ?? null],
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
