import { EventEmitter } from "node:events";
import type { Database, Sql } from "./database.ts";

const channel = "retake";

/** What nodes tell each other: a request was queued, has a new event, or shall stop. */
export type Topic = "queued" | `event:${string}` | `cancel:${string}`;

/** Notifications of all nodes. They only shorten waits: whoever waits also looks again after a while. */
export class Signals {
  readonly #emitter = new EventEmitter().setMaxListeners(0);

  static async open(database: Database): Promise<Signals> {
    const signals = new Signals();
    await database.listen(channel, (topic) => {
      if (topic !== null) signals.#emitter.emit(topic);
      // Some may have been missed: everybody looks again.
      else for (const name of signals.#emitter.eventNames()) signals.#emitter.emit(name);
    });
    return signals;
  }

  /** Tells all nodes, once the surrounding transaction commits. */
  static async notify(sql: Sql, topic: Topic): Promise<void> {
    await sql.query("SELECT pg_notify($1, $2)", [channel, topic]);
  }

  /** Calls back at each notification until the function it returns is called. */
  on(topic: Topic, callback: () => void): () => void {
    this.#emitter.on(topic, callback);
    return () => this.#emitter.off(topic, callback);
  }

  /** Ends at the next notification after the call, after the time, or with the signal; never throws. */
  wait(topic: Topic, milliseconds: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const done = () => {
        clearTimeout(timer);
        off();
        signal.removeEventListener("abort", done);
        resolve();
      };
      const off = this.on(topic, done);
      const timer = setTimeout(done, milliseconds);
      signal.addEventListener("abort", done, { once: true });
    });
  }
}
