import type { JobEvent } from "../job/job.ts";
import type { Database, Sql } from "./database.ts";
import type { RequestRecord } from "./record.ts";
import { Signals } from "./signals.ts";

export interface NumberedEvent {
  /** From 1, rising, with gaps: progress that a later one replaced is gone. */
  readonly id: number;
  readonly event: JobEvent;
}

/**
 * Stores an event. Only the last progress of each prompt is kept, so that a
 * request's events don't grow with its steps.
 *
 * @param attempt the run that reports; an earlier run's events are dropped
 */
export async function addEvent(
  sql: Sql,
  requestId: string,
  event: JobEvent,
  attempt?: number,
): Promise<void> {
  const progress = event.type === "progress";
  const [row] = await sql.query(
    `UPDATE retake.request SET last_event = last_event + 1${progress ? ", progress = $3" : ""}
     WHERE id = $1 AND ($2::int IS NULL OR (attempt = $2 AND state = 'in_progress'))
     RETURNING last_event`,
    [requestId, attempt ?? null, ...(progress ? [JSON.stringify(event)] : [])],
  );
  if (row === undefined) return;
  const promptIndex = progress ? event.promptIndex : null;
  if (progress) {
    await sql.query(
      "DELETE FROM retake.event WHERE request_id = $1 AND kind = 'progress' AND prompt_index = $2",
      [requestId, promptIndex],
    );
  }
  await sql.query(
    "INSERT INTO retake.event (request_id, id, kind, prompt_index, data) VALUES ($1, $2, $3, $4, $5)",
    [requestId, row.last_event, event.type, promptIndex, JSON.stringify(event)],
  );
  await Signals.notify(sql, `event:${requestId}`);
}

/** Steps can be faster than anyone reads. */
const progressMilliseconds = 200;

/** Stores a run's events in order, without making the run wait. */
export class EventWriter {
  readonly #database: Database;
  readonly #record: RequestRecord;
  readonly #onError: (error: unknown) => void;
  #written: Promise<void> = Promise.resolve();
  #lastProgress = Number.NEGATIVE_INFINITY;

  constructor(database: Database, record: RequestRecord, onError: (error: unknown) => void) {
    this.#database = database;
    this.#record = record;
    this.#onError = onError;
  }

  add(event: JobEvent): void {
    if (event.type === "progress" && event.step < event.total) {
      const now = performance.now();
      if (now - this.#lastProgress < progressMilliseconds) return;
      this.#lastProgress = now;
    }
    const { id, attempt } = this.#record;
    // An event that can't be stored is lost; the run and its result are not.
    this.#written = this.#written.then(() =>
      this.#database.transaction((sql) => addEvent(sql, id, event, attempt)).catch(this.#onError),
    );
  }

  /** Waits until all of them are stored. */
  flush(): Promise<void> {
    return this.#written;
  }
}
