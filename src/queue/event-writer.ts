import type { JobEvent } from "../schema/job.ts";
import type { Database } from "./database.ts";
import { addEvent } from "./events.ts";
import type { RequestRecord } from "./record.ts";

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
