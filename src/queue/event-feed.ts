import type { JobState } from "../job/job.ts";
import { jobEventSchema } from "../job/job.ts";
import type { Database, Sql } from "./database.ts";
import type { NumberedEvent } from "./events.ts";
import { isFinal } from "./record.ts";
import type { Signals } from "./signals.ts";

/**
 * How long an event that no notification announced may stay unseen. Inside this
 * process none gets lost; a Postgres may be reached through a pool that passes
 * none on.
 */
const missedMilliseconds = { pglite: 15_000, postgres: 1000 } as const;

interface Follower {
  readonly id: string;
  /** Number of the last event that it has. */
  last: number;
  changed: PromiseWithResolvers<void>;
}

/** Requests' events for any number of readers; all that are idle cost one small question together. */
export class EventFeed {
  readonly #database: Database;
  readonly #signals: Signals;
  readonly #onError: (error: Error) => void;
  readonly #followers = new Set<Follower>();
  #asking: NodeJS.Timeout | undefined;

  constructor(database: Database, signals: Signals, onError: (error: Error) => void) {
    this.#database = database;
    this.#signals = signals;
    this.#onError = onError;
  }

  /** A request's events after a number, those to come included; ends after the one that says how it ended. */
  async *follow(id: string, after: number, signal: AbortSignal): AsyncGenerator<NumberedEvent> {
    const follower: Follower = { id, last: after, changed: Promise.withResolvers() };
    const wake = () => follower.changed.resolve();
    const off = this.#signals.on(`event:${id}`, wake);
    signal.addEventListener("abort", wake);
    this.#add(follower);
    try {
      while (!signal.aborted) {
        // Before looking, so that what happens in between isn't missed.
        follower.changed = Promise.withResolvers();
        const { state, events } = await eventsAfter(this.#database, id, follower.last);
        for (const event of events) {
          follower.last = event.id;
          yield event;
        }
        if (state === undefined || isFinal({ state })) return;
        if (!signal.aborted) await follower.changed.promise;
      }
    } finally {
      off();
      signal.removeEventListener("abort", wake);
      this.#remove(follower);
    }
  }

  #add(follower: Follower): void {
    this.#followers.add(follower);
    this.#asking ??= setInterval(
      () => void this.#wakeMissed().catch(this.#onError),
      missedMilliseconds[this.#database.backend],
    );
  }

  #remove(follower: Follower): void {
    this.#followers.delete(follower);
    if (this.#followers.size > 0) return;
    clearInterval(this.#asking);
    this.#asking = undefined;
  }

  async #wakeMissed(): Promise<void> {
    const ids = new Set([...this.#followers].map(({ id }) => id));
    const rows = await this.#database.query(
      "SELECT id, last_event FROM retake.request WHERE id = ANY($1::uuid[])",
      [[...ids]],
    );
    const last = new Map(rows.map(({ id, last_event }) => [String(id), Number(last_event)]));
    for (const follower of this.#followers) {
      // A request that is gone has no more events: its readers end.
      if ((last.get(follower.id) ?? Number.POSITIVE_INFINITY) > follower.last)
        follower.changed.resolve();
    }
  }
}

/** As of one moment: with a final state the events are all there are. No state if there is no such request. */
async function eventsAfter(
  sql: Sql,
  id: string,
  after: number,
): Promise<{ readonly state: JobState | undefined; readonly events: readonly NumberedEvent[] }> {
  const rows = await sql.query(
    `SELECT request.state, event.id, event.data FROM retake.request
     LEFT JOIN retake.event ON event.request_id = request.id AND event.id > $2
     WHERE request.id = $1 ORDER BY event.id`,
    [id, after],
  );
  const events = rows
    .filter((row) => row.id !== null)
    .map((row) => ({ id: Number(row.id), event: jobEventSchema.parse(row.data) }));
  return { state: rows[0]?.state as JobState | undefined, events };
}
