import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { PostgresServer } from "../../test/postgres.ts";
import { prepareQueue } from "../../test/prepared.ts";
import {
  always,
  jobFor,
  noImages,
  onBothDatabases,
  queueSettings,
  submission,
  untilAborted,
} from "../../test/test-queue.ts";
import type { JobImage } from "../job/job.ts";
import { JobError } from "../job/job.ts";
import type { Run } from "./consumer.ts";
import { consume } from "./consumer.ts";
import { openEmbedded, openPostgres } from "./database.ts";
import { IdempotencyConflictError, QueueFullError } from "./errors.ts";
import type { NumberedEvent } from "./events.ts";
import { migrate } from "./migrations.ts";
import { Queue } from "./queue.ts";

const never = new AbortController().signal;
const died = new JobError(
  { code: "WORKER_DIED", message: "the worker was killed", promptIndex: 0, images: [] },
  true,
);

onBothDatabases("the queue", (at) => {
  test("keeps a request, runs it and tells of it", async () => {
    const { record, created } = await at().queue.submit(submission());
    expect(created).toBe(true);
    expect(record.state).toBe("in_queue");
    at().startConsumer(async ({ job }, { onEvent }) => {
      expect(job).toMatchObject({ prompts: [{ prompt: "a\0b" }] });
      const progress = { type: "progress", promptIndex: 0, total: 2, secondsLeft: null } as const;
      onEvent({ ...progress, step: 1 });
      onEvent({ ...progress, step: 2 });
      return noImages;
    });
    const seen: NumberedEvent[] = [];
    for await (const event of at().queue.events(record.id, 0, never)) seen.push(event);
    const states = seen.map(({ event }) => (event.type === "state" ? event.state : event.type));
    expect(states.filter((state) => state !== "progress")).toEqual([
      "in_queue",
      "in_progress",
      "succeeded",
    ]);
    const finished = await at().queue.get(record.id);
    expect(finished).toMatchObject({ state: "succeeded", result: noImages, attempt: 1 });
    expect(finished?.progress).toMatchObject({ step: 2 });
    // A later reader gets the same events, from the first that it has not seen.
    const last = seen.at(-1)!;
    const again: NumberedEvent[] = [];
    for await (const event of at().queue.events(record.id, last.id - 1, never)) again.push(event);
    expect(again).toEqual([last]);
  });

  test("cancels a waiting request at once and a running one through its signal", async () => {
    const waiting = await at().queue.submit(submission());
    expect((await at().queue.cancel(waiting.record.id))?.state).toBe("canceled");
    const running = await at().queue.submit(submission());
    at().startConsumer((_, { signal }) => untilAborted(signal));
    while ((await at().queue.get(running.record.id))?.state !== "in_progress");
    await at().queue.cancel(running.record.id);
    expect((await at().ended(running.record.id))?.state).toBe("canceled");
    expect((await at().queue.cancel(running.record.id))?.state).toBe("canceled");
  });

  test("tells how a request stands, and ends it, whatever characters it holds", async () => {
    const extra = { webhook_url: "https://example.com/\0" };
    const job = jobFor({ prompts: [...jobFor().prompts, ...jobFor().prompts] });
    const { record } = await at().queue.submit(submission({ extra, job }));
    expect(await at().queue.cancel(record.id)).toMatchObject({
      state: "canceled",
      model: "zimage_turbo",
      prompts: 2,
    });
  });

  test("counts the pictures of requests that an earlier version kept", async () => {
    const prompts = jobFor().prompts.map((prompt) => ({ ...prompt, prompt: "a\0b \\u0000" }));
    const job = jobFor({ prompts: [...prompts, ...prompts, ...prompts] });
    const { record } = await at().queue.submit(submission({ job }));
    const earlier = [
      "DROP VIEW retake.kept_content",
      "ALTER TABLE retake.request DROP COLUMN job_upload, DROP COLUMN kind, DROP COLUMN prompts",
      "DROP TABLE retake.job_upload_file, retake.job_upload",
      `UPDATE retake.request SET job = replace(job::text, '"kind":"pictures",', '')::json`,
      "UPDATE retake.version SET version = 3",
    ];
    for (const statement of earlier) await at().database.query(statement);
    await migrate(at().database);
    expect(await at().queue.status(record.id)).toMatchObject({ prompts: 3, kind: "pictures" });
    expect((await at().queue.get(record.id))?.job).toEqual(job);
  });

  test("runs an interrupted request again, twice at most, and says why it failed", async () => {
    let runs = 0;
    const { record } = await at().queue.submit(submission());
    at().startConsumer(async () => {
      runs++;
      throw died;
    });
    expect(await at().ended(record.id)).toMatchObject({
      state: "failed",
      failure: { message: "the worker was killed" },
    });
    expect(runs).toBe(3);
  });

  test("a picture that was announced stays in the answer, whichever run made it", async () => {
    const image = {
      format: "jpeg",
      width: 64,
      height: 64,
      seed: "1",
      bytes: 3,
      effective: {},
    } as const;
    const announced = (promptIndex: number): JobImage => ({
      ...{ ...image, promptIndex },
      file: `picture-${promptIndex}.jpg`,
    });
    const interrupted = await at().queue.submit(submission());
    let runs = 0;
    at().startConsumer(async (_, { onEvent }) => {
      // The second run gets further than the first, the third nowhere.
      for (let i = 0; i < [1, 2, 0][runs]!; i++) onEvent({ type: "image", image: announced(i) });
      runs++;
      throw died;
    });
    expect(await at().ended(interrupted.record.id)).toMatchObject({
      state: "failed",
      failure: { code: "WORKER_DIED", images: [announced(0), announced(1)] },
    });
    await at().stopConsumers();
    const canceled = await at().queue.submit(submission());
    at().startConsumer(async (_, { signal, onEvent }) => {
      onEvent({ type: "image", image: announced(0) });
      await at().queue.cancel(canceled.record.id);
      await untilAborted(signal).catch(() => {});
      throw died; // The server ended it in the middle of a step.
    });
    expect(await at().ended(canceled.record.id)).toMatchObject({
      state: "canceled",
      failure: { code: "CANCELED", images: [announced(0)] },
    });
  });

  test("does not run a request again whose own fault it was", async () => {
    const { record } = await at().queue.submit(submission());
    at().startConsumer(async () => {
      throw new JobError({ ...died.failure, code: "BAD", message: "no such LoRA" }, false);
    });
    const finished = await at().ended(record.id);
    expect(finished).toMatchObject({ state: "failed", attempt: 1, failure: { code: "BAD" } });
  });

  test("stops a run that takes too long, for good, and says so", async () => {
    const { record } = await at().queue.submit(submission());
    at().startConsumer((_, { signal }) => untilAborted(signal), 0.1);
    expect(await at().ended(record.id)).toMatchObject({
      state: "failed",
      attempt: 1,
      failure: {
        code: "TIMEOUT",
        message: expect.stringMatching(/0\.1 seconds.*INFERENCE_TIMEOUT/),
      },
    });
  });

  test("a run that came to its end all the same, too late, is not thrown away", async () => {
    const { record } = await at().queue.submit(submission());
    at().startConsumer((_, { signal }) => untilAborted(signal).catch(() => noImages), 0.1);
    expect(await at().ended(record.id)).toMatchObject({ state: "succeeded", attempt: 1 });
  });

  test("hands a running request back without counting the run", async () => {
    const { record } = await at().queue.submit(submission());
    at().startConsumer((_, { signal }) => untilAborted(signal));
    while ((await at().queue.get(record.id))?.state !== "in_progress");
    at().handBack.abort();
    await at().stopConsumers();
    expect(await at().queue.get(record.id)).toMatchObject({ state: "in_queue", attempt: 0 });
    at().startConsumer(async () => noImages);
    expect((await at().ended(record.id))?.state).toBe("succeeded");
  });

  test("refuses more than may wait, and takes a repeated request once", async () => {
    const idempotency = { key: "k", fingerprint: "f" };
    const first = await at().queue.submit(submission({ idempotency }));
    const second = await at().queue.submit(submission({ idempotency }));
    expect(second).toMatchObject({ created: false, record: { id: first.record.id } });
    const other = submission({ idempotency: { key: "k", fingerprint: "other" } });
    await expect(at().queue.submit(other)).rejects.toBeInstanceOf(IdempotencyConflictError);
    const more = await Promise.allSettled(
      Array.from({ length: 10 }, () => at().queue.submit(submission())),
    );
    expect(more.filter(({ status }) => status === "fulfilled")).toHaveLength(4);
    const refused = more.find((result) => result.status === "rejected");
    expect(refused?.reason).toBeInstanceOf(QueueFullError);
    expect(refused?.reason.retryAfterSeconds).toBeGreaterThan(0);
  });

  test("lists newest first, in pages, and forgets what has ended only", async () => {
    const ids: string[] = [];
    for (let i = 0; i < 3; i++) ids.push((await at().queue.submit(submission())).record.id);
    const page = await at().queue.list({ limit: 2 });
    expect(page.map(({ id }) => id)).toEqual([ids[2], ids[1]]);
    const rest = await at().queue.list({ limit: 2, after: page.at(-1)?.id });
    expect(rest.map(({ id }) => id)).toEqual([ids[0]]);
    await at().queue.remove(ids[0]!);
    expect((await at().queue.get(ids[0]!))?.state).toBe("in_queue");
    await at().queue.cancel(ids[0]!);
    await at().queue.remove(ids[0]!);
    expect(await at().queue.get(ids[0]!)).toBeUndefined();
  });
});

let postgres: PostgresServer;
beforeAll(async () => {
  postgres = await PostgresServer.start();
}, 60_000);
afterAll(() => postgres.stop());

test("many nodes may open an empty Postgres at once", async () => {
  const url = await postgres.createDatabase("many", { empty: true });
  const opened = await Promise.all(
    Array.from({ length: 6 }, async () => {
      const database = await openPostgres(url, queueSettings.onError);
      return { database, queue: await Queue.open(database, queueSettings) };
    }),
  );
  for (const { queue, database } of opened) {
    await queue.close();
    await database.close();
  }
});

test("a restart of Postgres in the middle of everything loses nothing", async () => {
  const errors: unknown[] = [];
  const onError = (error: unknown) => errors.push(error);
  const database = await openPostgres(await postgres.createDatabase("restarted"), onError);
  const queue = await Queue.open(database, { maxQueued: 100, onError });
  const stop = new AbortController();
  const options = {
    name: "test",
    isReady: always,
    timeoutSeconds: 30,
    stop: stop.signal,
    handBack: stop.signal,
  };
  const run: Run = () => new Promise((done) => setTimeout(done, 300, noImages));
  const consumer = consume(queue, { ...options, run, onError });
  const accepted: string[] = [];
  for (let i = 0; i < 3; i++) accepted.push((await queue.submit(submission())).record.id);
  // Transactions that are open when the server goes.
  const caught = Array.from({ length: 8 }, () =>
    database.transaction((sql) => sql.query("SELECT pg_sleep(600)")).catch(() => "lost"),
  );
  await expect.poll(() => postgres.running("SELECT pg_sleep(600)"), { timeout: 60_000 }).toBe(8);
  await postgres.crash();
  expect(await Promise.all(caught)).toEqual(Array(8).fill("lost"));
  await postgres.boot();
  for (const id of accepted) {
    while ((await queue.get(id).catch(() => undefined))?.state !== "succeeded")
      await new Promise((done) => setTimeout(done, 50));
  }
  expect(errors.length).toBeGreaterThan(0);
  stop.abort();
  await consumer;
  await queue.close();
  await database.close();
});

// Two processes: test/locks.test.ts.
test("a folder that is open can't be opened again, until it is closed", async () => {
  const folder = mkdtempSync(join(tmpdir(), "retake-queue-"));
  await prepareQueue(folder);
  const database = await openEmbedded(folder);
  await expect(openEmbedded(folder)).rejects.toThrow(/is open in another process.*RETAKE_DATA/);
  await database.close();
  await (await openEmbedded(folder)).close();
  rmSync(folder, { recursive: true });
});
