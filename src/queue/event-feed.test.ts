import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { PostgresServer } from "../../test/postgres.ts";
import { prepareQueue } from "../../test/prepared.ts";
import { queueSettings, submission } from "../../test/test-queue.ts";
import type { Database } from "./database.ts";
import { openEmbedded, openPostgres } from "./database.ts";
import { Queue } from "./queue.ts";

const { onError } = queueSettings;

let postgres: PostgresServer;
beforeAll(async () => {
  postgres = await PostgresServer.start();
}, 60_000);
afterAll(() => postgres.stop());
afterEach(() => vi.useRealTimers());

/** The database itself, and what it is asked outside of transactions. */
function counting(database: Database): { database: Database; asked: string[] } {
  const asked: string[] = [];
  const query: Database["query"] = (text, values) => {
    asked.push(text);
    return database.query(text, values);
  };
  return { database: { ...database, query }, asked };
}

/** A queue with one waiting request, which so many streams follow; all have its first event. */
async function followed(opened: Database, streams: number) {
  const { database, asked } = counting(opened);
  const queue = await Queue.open(database, queueSettings);
  vi.useFakeTimers({ toFake: ["setInterval", "setTimeout"] });
  const { record } = await queue.submit(submission());
  const { id } = record;
  const stop = new AbortController();
  const events = Array.from({ length: streams }, () => queue.events(id, 0, stop.signal));
  for (const stream of events) await stream.next();
  const next = events.map((stream) => stream.next());
  return { queue, id, asked, next, stop, close: () => queue.close() };
}

test("idle streams of a Postgres ask one question together, which finds what was not announced", async () => {
  const opened = await openPostgres(await postgres.createDatabase("idle"), onError);
  const { queue, id, asked, next, close } = await followed(opened, 20);
  const before = asked.length;
  vi.advanceTimersByTime(3000);
  expect(asked.slice(before)).toHaveLength(3);
  // As if the notification had been lost.
  await opened.transaction(async (sql) => {
    await sql.query("UPDATE retake.request SET last_event = last_event + 1 WHERE id = $1", [id]);
    await sql.query(
      "INSERT INTO retake.event (request_id, id, kind, data) VALUES ($1, 2, 'state', $2)",
      [id, JSON.stringify({ type: "state", state: "in_progress" })],
    );
  });
  vi.advanceTimersByTime(1000);
  for (const { value } of await Promise.all(next)) expect(value).toMatchObject({ id: 2 });
  expect((await queue.status(id))?.state).toBe("in_queue");
  await close();
  await opened.close();
});

test("idle streams of an embedded queue hardly ask, and hear of what happens", async () => {
  const folder = mkdtempSync(join(tmpdir(), "retake-feed-"));
  await prepareQueue(folder);
  const opened = await openEmbedded(folder);
  const { queue, id, asked, next, stop, close } = await followed(opened, 20);
  const before = asked.length;
  vi.advanceTimersByTime(14_000);
  expect(asked.slice(before)).toEqual([]);
  await queue.cancel(id);
  for (const { value } of await Promise.all(next))
    expect(value).toMatchObject({ id: 2, event: { state: "canceled" } });
  stop.abort();
  await close();
  await opened.close();
  rmSync(folder, { recursive: true });
});
