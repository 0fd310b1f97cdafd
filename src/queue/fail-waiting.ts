import type { JobFailure } from "../job/job.ts";
import { endRequest } from "./end-request.ts";
import { isWaiting } from "./preference.ts";
import type { Queue } from "./queue.ts";
import { queueName } from "./queue.ts";

/**
 * Fails all requests that wait for a model.
 *
 * @returns their ids
 */
export async function failWaiting(
  { database, boss }: Queue,
  model: string,
  failure: JobFailure,
): Promise<string[]> {
  return database.transaction(async (sql) => {
    const rows = await sql.query(
      `SELECT id FROM retake.request WHERE model = $2 AND ${isWaiting} FOR UPDATE`,
      [queueName(""), model],
    );
    const ids = rows.map(({ id }) => String(id));
    for (const id of ids) {
      await boss.cancel(queueName(model), id, { db: sql.forPgBoss });
      await endRequest(boss, sql, { id, state: "failed", failure });
    }
    return ids;
  });
}
