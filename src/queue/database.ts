import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { PGlite } from "@electric-sql/pglite";
import { Client, Pool } from "pg";
import type { Db } from "pg-boss";
import { fromPglite } from "pg-boss";
import { InputError, messageOf } from "../errors.ts";
import { Lock } from "../files/lock.ts";
import { makeOwnFolder } from "../files/own-folder.ts";

type Row = Record<string, unknown>;

/** Runs one statement, `$1` standing for the first value. */
export interface Sql {
  query(text: string, values?: readonly unknown[]): Promise<Row[]>;
  /** The same connection as pg-boss takes it, so that its writes are part of a transaction of ours. */
  readonly forPgBoss: Db;
}

/** One Postgres, in this process or a server's: the same SQL for both. */
export interface Database extends Sql {
  readonly backend: "pglite" | "postgres";
  transaction<Result>(work: (sql: Sql) => Promise<Result>): Promise<Result>;
  /** Runs the work while no other node runs work under the same lock. */
  exclusively<Result>(lock: number, work: () => Promise<Result>): Promise<Result>;
  /** Calls back for each notification on the channel, and for null when some may have been missed. */
  listen(channel: string, onNotify: (payload: string | null) => void): Promise<void>;
  close(): Promise<void>;
}

/** Opens the embedded database in a folder. @throws InputError if another process has it open */
export async function openEmbedded(folder: string): Promise<Database> {
  await makeOwnFolder(folder, "RETAKE_DATA");
  const lock = lockFolder(folder);
  let db: PGlite;
  try {
    db = await PGlite.create(join(folder, "queue"));
  } catch (error) {
    lock.release();
    throw error;
  }
  // Somebody deleted the lock file, and another process has the folder now: nothing more is written to it.
  const ours = () => {
    lock.lost.throwIfAborted();
    return db;
  };
  const guarded: Pick<PGlite, "query" | "exec" | "listen" | "transaction"> = {
    query: async (text, values) => ours().query(text, values),
    exec: async (text) => ours().exec(text),
    listen: async (channel, onNotify) => ours().listen(channel, onNotify),
    transaction: async (work) => ours().transaction(work),
  };
  const sqlOf = (connection: Pick<PGlite, "query" | "exec">): Sql => ({
    query: async (text, values = []) => (await connection.query<Row>(text, [...values])).rows,
    forPgBoss: fromPglite(connection),
  });
  return {
    ...sqlOf(guarded),
    // With `listen`, so that pg-boss hears of new jobs too.
    forPgBoss: fromPglite(guarded),
    backend: "pglite",
    transaction: (work) => guarded.transaction((transaction) => work(sqlOf(transaction))),
    // The folder is open in this process alone.
    exclusively: (_, work) => work(),
    async listen(channel, onNotify) {
      await db.listen(channel, onNotify);
    },
    async close() {
      // Closing writes to the folder.
      if (!lock.lost.aborted) await db.close();
      lock.release();
    },
  };
}

/** Two processes in one folder would destroy it. */
function lockFolder(folder: string): Lock {
  let lock: Lock | undefined;
  try {
    lock = Lock.tryTake(join(folder, "queue"));
  } catch (error) {
    throw new InputError(
      `The queue in ${folder} can't be opened: ${messageOf(error)} Or set RETAKE_DATA to another folder, or ` +
        "DATABASE_URL.",
      { cause: error },
    );
  }
  if (lock !== undefined) return lock;
  throw new InputError(
    `The queue in ${folder} is open in another process. Stop that one, or give this one a folder ` +
      "of its own with RETAKE_DATA, or set DATABASE_URL, which several can share.",
  );
}

/** How long a lost connection that listens waits before it tries again. */
const reconnectMilliseconds = 500;

/** Opens a pool of connections to a Postgres server. @throws InputError if it can't be reached */
export async function openPostgres(
  url: string,
  onError: (error: Error) => void,
): Promise<Database> {
  const pool = new Pool({ connectionString: url, max: 10, connectionTimeoutMillis: 10_000 });
  // An idle connection that the server closes: the pool makes another.
  pool.on("error", onError);
  // The pool hears only idle ones: one that is lost in the middle of its work would end the process.
  pool.on("connect", (client) => client.on("error", onError));
  try {
    await pool.query("SELECT 1");
  } catch (error) {
    await pool.end();
    throw new InputError(
      `The database that DATABASE_URL names can't be used: ${messageOf(error)}. Is it running, and are user and password right?`,
      { cause: error },
    );
  }
  const sqlOf = (connection: Pick<Pool, "query">): Sql => {
    const query = async (text: string, values?: readonly unknown[]) =>
      (await connection.query<Row>(text, values === undefined ? undefined : [...values])).rows;
    return {
      query,
      forPgBoss: { executeSql: (text, values) => execute(connection, text, values) },
    };
  };
  const closing = new AbortController();
  return {
    ...sqlOf(pool),
    backend: "postgres",
    async transaction(work) {
      const client = await pool.connect();
      try {
        await client.query("BEGIN");
        const result = await work(sqlOf(client));
        await client.query("COMMIT");
        client.release();
        return result;
      } catch (error) {
        // A connection that can't roll back is in an unknown state: it is thrown away.
        await client.query("ROLLBACK").then(
          () => client.release(),
          (lost: Error) => client.release(lost),
        );
        throw error;
      }
    },
    async exclusively(lock, work) {
      const client = await pool.connect();
      try {
        await client.query("SELECT pg_advisory_lock($1)", [lock]);
        return await work();
      } finally {
        // The lock ends with its connection, whatever state that is in.
        client.release(true);
      }
    },
    listen: (channel, onNotify) =>
      listenForEver(url, channel, { onNotify, onError, signal: closing.signal }),
    async close() {
      closing.abort();
      await pool.end();
    },
  };
}

/** Statements without values may be several at once: node-postgres answers with a list then. */
async function execute(connection: Pick<Pool, "query">, text: string, values?: unknown[]) {
  const result = await connection.query<Row>(text, values);
  const results: unknown = result;
  return Array.isArray(results)
    ? { rows: (results as (typeof result)[]).flatMap(({ rows }) => rows ?? []) } // node-postgres's types leave this case out
    : { rows: result.rows };
}

interface Listening {
  readonly onNotify: (payload: string | null) => void;
  readonly onError: (error: Error) => void;
  readonly signal: AbortSignal;
}

/** Listens on a connection of its own, which is made again whenever it is lost. */
async function listenForEver(url: string, channel: string, listening: Listening): Promise<void> {
  const { onNotify, onError, signal } = listening;
  let connection = await listenOnce(url, channel, listening);
  const keep = async () => {
    for (;;) {
      await connection.ended;
      await sleep(reconnectMilliseconds, undefined, { ref: false });
      if (signal.aborted) return;
      try {
        connection = await listenOnce(url, channel, listening);
        onNotify(null);
      } catch (error) {
        onError(error instanceof Error ? error : new Error(String(error)));
      }
    }
  };
  keep().catch(onError);
}

async function listenOnce(
  url: string,
  channel: string,
  { onNotify, onError, signal }: Listening,
): Promise<{ readonly ended: Promise<void> }> {
  const client = new Client({ connectionString: url, keepAlive: true });
  client.on("notification", ({ payload }) => onNotify(payload ?? ""));
  client.on("error", onError);
  const ended = new Promise<void>((resolve) => {
    client.once("end", resolve);
  });
  try {
    await client.connect();
    await client.query(`LISTEN ${channel}`);
  } catch (error) {
    await client.end().catch(onError);
    throw error;
  }
  const end = () => void client.end().catch(onError);
  signal.addEventListener("abort", end, { once: true });
  const forget = () => signal.removeEventListener("abort", end);
  return { ended: ended.then(forget) };
}
