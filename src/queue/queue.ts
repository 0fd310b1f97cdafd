import { PgBoss } from "pg-boss";
import { mostRunSeconds } from "../config/variables.ts";
import type { JobKind, JobState } from "../job/job.ts";
import { picturesOf } from "../job/job.ts";
import type { Database, Sql } from "./database.ts";
import { endRequest, webhookQueue } from "./end-request.ts";
import { QueueFullError } from "./errors.ts";
import { EventFeed } from "./event-feed.ts";
import type { NumberedEvent } from "./events.ts";
import { addEvent } from "./events.ts";
import { locks, migrate } from "./migrations.ts";
import type { RequestRecord, RequestStatus } from "./record.ts";
import { parseRecord, parseStatus, recordColumns, statusColumns } from "./record.ts";
import { Signals } from "./signals.ts";
import type { Submission } from "./submission.ts";
import { findByKey, holdUploads } from "./submission.ts";

export interface QueueSettings {
  /** Requests that may wait at once, on all nodes together. */
  readonly maxQueued: number;
  readonly onError: (error: Error) => void;
}

export interface Listing {
  readonly owner?: string | undefined;
  readonly state?: JobState | undefined;
  readonly model?: string | undefined;
  readonly kind?: JobKind | undefined;
  readonly limit: number;
  /** Id of the last request of the page before. */
  readonly after?: string | undefined;
}

/** A worker that sends no sign of life for so long is taken for dead, and its job runs again. */
export const heartbeatSeconds = 15;

/** pg-boss keeps one queue per model, so that a worker can ask for the model it has loaded. */
export function queueName(model: string): string {
  return `generate.${model}`;
}

/** Accepted requests and what becomes of them. Any number of nodes share one Postgres. */
export class Queue {
  readonly database: Database;
  readonly boss: PgBoss;
  readonly signals: Signals;
  readonly #maxQueued: number;
  readonly #feed: EventFeed;
  readonly #queues = new Set<string>();

  private constructor(
    database: Database,
    boss: PgBoss,
    signals: Signals,
    { maxQueued, onError }: QueueSettings,
  ) {
    this.database = database;
    this.boss = boss;
    this.signals = signals;
    this.#maxQueued = maxQueued;
    this.#feed = new EventFeed(database, signals, onError);
  }

  static async open(database: Database, settings: QueueSettings): Promise<Queue> {
    const boss = new PgBoss({
      db: database.forPgBoss,
      backend: database.backend,
      schedule: false,
      superviseIntervalSeconds: 5,
      monitorIntervalSeconds: 5,
    });
    boss.on("error", settings.onError);
    // pg-boss makes its tables too, and two of it that do so at once get in each other's way.
    await database.exclusively(locks.open, async () => {
      await migrate(database);
      await boss.start();
    });
    // Each try is six of its own in five minutes; the next comes after twice the time, for a day or so.
    await boss.createQueue(webhookQueue, {
      retryLimit: 12,
      retryDelay: 2,
      retryBackoff: true,
      retryDelayMax: 3600,
      expireInSeconds: 600,
    });
    const signals = await Signals.open(database);
    const queue = new Queue(database, boss, signals, settings);
    // Nobody else can be running a job of an embedded queue: what is active was interrupted.
    if (database.backend === "pglite") await queue.#requeueInterrupted();
    return queue;
  }

  /**
   * Keeps a request. When this returns it survives a crash.
   *
   * @returns the record, which an earlier call with the same idempotency key may have made
   * @throws QueueFullError, IdempotencyConflictError, LoraNotFoundError, JobUploadNotFoundError
   */
  async submit(submission: Submission): Promise<{ record: RequestRecord; created: boolean }> {
    const { job, extra, priority, owner, sealedToken, idempotency } = submission;
    await this.#ensureQueue(job.model);
    return this.database.transaction(async (sql) => {
      // One at a time, so that the bound is exact and a key is used once.
      await sql.query("SELECT pg_advisory_xact_lock($1)", [locks.submit]);
      if (idempotency !== undefined) {
        const earlier = await findByKey(sql, owner, idempotency);
        if (earlier !== undefined) return { record: earlier, created: false };
      }
      await this.#requireRoom(sql);
      const [row] = await sql.query(
        `INSERT INTO retake.request (id, kind, model, prompts, owner, priority, job, extra, sealed_token)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING ${recordColumns}`,
        [
          ...[job.id, job.kind, job.model, picturesOf(job), owner, priority],
          ...[JSON.stringify(job), JSON.stringify(extra), sealedToken],
        ],
      );
      await holdUploads(sql, submission);
      if (idempotency !== undefined) {
        await sql.query(
          "INSERT INTO retake.idempotency (owner, key, fingerprint, request_id) VALUES ($1, $2, $3, $4)",
          [owner, idempotency.key, idempotency.fingerprint, job.id],
        );
      }
      await this.boss.send(queueName(job.model), {}, { id: job.id, priority, db: sql.forPgBoss });
      await addEvent(sql, job.id, { type: "state", state: "in_queue" });
      await Signals.notify(sql, "queued");
      return { record: parseRecord(row), created: true };
    });
  }

  async get(id: string): Promise<RequestRecord | undefined> {
    const [row] = await this.database.query(
      `SELECT ${recordColumns} FROM retake.request WHERE id = $1`,
      [id],
    );
    return row === undefined ? undefined : parseRecord(row);
  }

  async status(id: string): Promise<RequestStatus | undefined> {
    const [row] = await this.database.query(
      `SELECT ${statusColumns} FROM retake.request WHERE id = $1`,
      [id],
    );
    return row === undefined ? undefined : parseStatus(row);
  }

  /** Newest first. */
  async list({ owner, state, model, kind, limit, after }: Listing): Promise<RequestStatus[]> {
    const rows = await this.database.query(
      `SELECT ${statusColumns} FROM retake.request
       WHERE ($1::text IS NULL OR owner = $1) AND ($2::text IS NULL OR state = $2)
         AND ($3::text IS NULL OR model = $3)
         AND ($4::text IS NULL OR kind = $4)
         AND ($5::uuid IS NULL OR (created_at, id) < (SELECT created_at, id FROM retake.request WHERE id = $5))
       ORDER BY created_at DESC, id DESC LIMIT $6`,
      [owner ?? null, state ?? null, model ?? null, kind ?? null, after ?? null, limit],
    );
    return rows.map(parseStatus);
  }

  /** How many requests are in each state, and how long the oldest has waited. */
  async counts(): Promise<{ states: Map<string, number>; oldestWaitSeconds: number }> {
    const rows = await this.database.query(
      `SELECT state, count(*)::int AS count,
         extract(epoch FROM clock_timestamp() - min(created_at))::float8 AS age
       FROM retake.request GROUP BY state`,
    );
    const waiting = rows.find(({ state }) => state === "in_queue");
    return {
      states: new Map(rows.map(({ state, count }) => [String(state), Number(count)])),
      oldestWaitSeconds: waiting === undefined ? 0 : Number(waiting.age),
    };
  }

  /**
   * A waiting request is canceled at once, a running one when its step has ended; one
   * that has ended stays as it is.
   *
   * @returns how it stands now, or undefined if there is none
   */
  async cancel(id: string): Promise<RequestStatus | undefined> {
    await this.database.transaction(async (sql) => {
      const [waiting] = await sql.query(
        "SELECT model FROM retake.request WHERE id = $1 AND state = 'in_queue' FOR UPDATE",
        [id],
      );
      if (waiting !== undefined) {
        await this.boss.cancel(queueName(String(waiting.model)), id, { db: sql.forPgBoss });
        await endRequest(this.boss, sql, { id, state: "canceled" });
        return;
      }
      await sql.query(
        "UPDATE retake.request SET cancel_requested = true WHERE id = $1 AND state = 'in_progress'",
        [id],
      );
      await Signals.notify(sql, `cancel:${id}`);
    });
    return this.status(id);
  }

  /** Forgets a request that has ended, once its files are gone; does nothing if there is none, or it hasn't ended. */
  async remove(id: string): Promise<void> {
    await this.database.query(
      "DELETE FROM retake.request WHERE id = $1 AND finished_at IS NOT NULL",
      [id],
    );
  }

  /** Ids of requests that ended before the time, the oldest first. */
  async finishedBefore(time: Date): Promise<string[]> {
    const rows = await this.database.query(
      "SELECT id FROM retake.request WHERE finished_at < $1 ORDER BY finished_at LIMIT 10000",
      [time],
    );
    return rows.map(({ id }) => String(id));
  }

  /** A request's events after a number, those to come included; ends after the one that says how it ended. */
  events(id: string, after: number, signal: AbortSignal): AsyncGenerator<NumberedEvent> {
    return this.#feed.follow(id, after, signal);
  }

  /** Ends everything that uses the database; the database stays open. */
  async close(): Promise<void> {
    await this.boss.stop({ graceful: false });
  }

  async #ensureQueue(model: string): Promise<void> {
    if (this.#queues.has(model)) return;
    await this.boss.createQueue(queueName(model), {
      heartbeatSeconds,
      // The consumer ends a job that takes too long; this is for one that can't.
      expireInSeconds: mostRunSeconds + 60 * 60,
      // How often a job runs is counted in its record, with the reason.
      retryLimit: 1000,
      retentionSeconds: 365 * 24 * 60 * 60,
      deleteAfterSeconds: 60,
    });
    this.#queues.add(model);
  }

  async #requireRoom(sql: Sql): Promise<void> {
    const [row] = await sql.query(
      "SELECT count(*)::int AS waiting FROM retake.request WHERE state = 'in_queue'",
    );
    const waiting = Number(row?.waiting);
    if (waiting < this.#maxQueued) return;
    const [recent] = await sql.query(
      `SELECT extract(epoch FROM avg(finished_at - started_at))::float8 AS seconds FROM
         (SELECT finished_at, started_at FROM retake.request
          WHERE finished_at IS NOT NULL AND started_at IS NOT NULL ORDER BY finished_at DESC LIMIT 20) AS last`,
    );
    const seconds = Math.ceil(Number(recent?.seconds ?? 0));
    throw new QueueFullError(waiting, Math.min(Math.max(seconds, 1), 600));
  }

  async #requeueInterrupted(): Promise<void> {
    const rows = await this.database.query(
      "SELECT id, model FROM retake.request WHERE state = 'in_progress'",
    );
    for (const { id, model } of rows) {
      await this.boss.fail(queueName(String(model)), String(id));
      await this.database.query("UPDATE retake.request SET state = 'in_queue' WHERE id = $1", [id]);
      await addEvent(this.database, String(id), { type: "state", state: "in_queue" });
    }
  }
}
