import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { PostgresServer } from "../../test/postgres.ts";
import { prepareQueue } from "../../test/prepared.ts";
import type { Job, JobResult } from "../job/job.ts";
import { JobError } from "../job/job.ts";
import type { Run } from "./consumer.ts";
import { consume } from "./consumer.ts";
import type { Database } from "./database.ts";
import { openEmbedded, openPostgres } from "./database.ts";
import { IdempotencyConflictError, QueueFullError } from "./errors.ts";
import type { NumberedEvent } from "./events.ts";
import { Queue, queueName } from "./queue.ts";
import type { Submission } from "./submission.ts";

function jobFor(fields: Partial<Job> = {}): Job {
  return {
    id: randomUUID(),
    model: "zimage_turbo",
    loras: [],
    prompts: [
      {
        // U+0000 is a character that databases like to refuse.
        prompt: "a\0b",
        negativePrompt: "",
        triggerWord: null,
        width: 64,
        height: 64,
        steps: 2,
        guidanceScale: null,
        seed: "18446744073709551615",
      },
    ],
    profile: "reference",
    format: "jpeg",
    previewEvery: null,
    ...fields,
  };
}

function submission(fields: Partial<Submission> = {}): Submission {
  const none = { extra: {}, priority: 0, owner: "", sealedToken: null, uploads: [] };
  return { job: jobFor(), ...none, ...fields };
}

/** A run that ends with its signal, even one that came before it began. */
function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, fail) => {
    const end = () => fail(new Error("stopped"));
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
  });
}

const never = new AbortController().signal;
const always = async () => true;
const noImages: JobResult = { images: [], timings: {}, inferenceTime: 0.5 };
const died = new JobError(
  { code: "WORKER_DIED", message: "the worker was killed", promptIndex: 0, images: [] },
  true,
);
const settings = {
  maxQueued: 5,
  onError: (error: Error) => {
    throw error;
  },
};

let postgres: PostgresServer;
beforeAll(async () => {
  postgres = await PostgresServer.start();
}, 60_000);
afterAll(() => postgres.stop());

let folder: string;
let databases = 0;
const open: Record<string, () => Promise<Database>> = {
  embedded: async () => {
    await prepareQueue(folder);
    return openEmbedded(folder);
  },
  Postgres: async () =>
    openPostgres(await postgres.createDatabase(`test_${databases++}`), settings.onError),
};

describe.each(Object.keys(open))("the queue on %s", (kind) => {
  let database: Database;
  let queue: Queue;
  const consumers: Promise<void>[] = [];
  let stop: AbortController;
  let handBack: AbortController;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "retake-queue-"));
    database = await open[kind]!();
    queue = await Queue.open(database, settings);
    stop = new AbortController();
    handBack = new AbortController();
  });
  afterEach(async () => {
    stop.abort();
    await Promise.all(consumers.splice(0));
    await queue.close();
    await database.close();
    rmSync(folder, { recursive: true });
  });

  function startConsumer(run: Run, timeoutSeconds = 30): void {
    const options = {
      name: "test",
      isReady: always,
      timeoutSeconds,
      stop: stop.signal,
      handBack: handBack.signal,
    };
    consumers.push(
      consume(queue, {
        ...options,
        run,
        onError: (error) => {
          throw error;
        },
      }),
    );
  }

  async function ended(id: string) {
    for await (const _ of queue.events(id, 0, never));
    return queue.get(id);
  }

  test("keeps a request, runs it and tells of it", async () => {
    const { record, created } = await queue.submit(submission());
    expect(created).toBe(true);
    expect(record.state).toBe("in_queue");
    startConsumer(async ({ job }, { onEvent }) => {
      expect(job.prompts[0]?.prompt).toBe("a\0b");
      const progress = { type: "progress", promptIndex: 0, total: 2, secondsLeft: null } as const;
      onEvent({ ...progress, step: 1 });
      onEvent({ ...progress, step: 2 });
      return noImages;
    });
    const seen: NumberedEvent[] = [];
    for await (const event of queue.events(record.id, 0, never)) seen.push(event);
    const states = seen.map(({ event }) => (event.type === "state" ? event.state : event.type));
    expect(states.filter((state) => state !== "progress")).toEqual([
      "in_queue",
      "in_progress",
      "succeeded",
    ]);
    const finished = await queue.get(record.id);
    expect(finished).toMatchObject({ state: "succeeded", result: noImages, attempt: 1 });
    expect(finished?.progress).toMatchObject({ step: 2 });
    // A later reader gets the same events, from the first that it has not seen.
    const last = seen.at(-1)!;
    const again: NumberedEvent[] = [];
    for await (const event of queue.events(record.id, last.id - 1, never)) again.push(event);
    expect(again).toEqual([last]);
  });

  test("cancels a waiting request at once and a running one through its signal", async () => {
    const waiting = await queue.submit(submission());
    expect((await queue.cancel(waiting.record.id))?.state).toBe("canceled");
    const running = await queue.submit(submission());
    startConsumer((_, { signal }) => untilAborted(signal));
    while ((await queue.get(running.record.id))?.state !== "in_progress");
    await queue.cancel(running.record.id);
    expect((await ended(running.record.id))?.state).toBe("canceled");
    expect((await queue.cancel(running.record.id))?.state).toBe("canceled");
  });

  test("tells how a request stands, and ends it, whatever characters it holds", async () => {
    const extra = { webhook_url: "https://example.com/\0" };
    const job = jobFor({ prompts: [...jobFor().prompts, ...jobFor().prompts] });
    const { record } = await queue.submit(submission({ extra, job }));
    expect(await queue.cancel(record.id)).toMatchObject({
      state: "canceled",
      model: "zimage_turbo",
      prompts: 2,
    });
  });

  test("runs an interrupted request again, twice at most, and says why it failed", async () => {
    let runs = 0;
    const { record } = await queue.submit(submission());
    startConsumer(async () => {
      runs++;
      throw died;
    });
    expect(await ended(record.id)).toMatchObject({
      state: "failed",
      failure: { message: "the worker was killed" },
    });
    expect(runs).toBe(3);
  });

  test("does not run a request again whose own fault it was", async () => {
    const { record } = await queue.submit(submission());
    startConsumer(async () => {
      throw new JobError({ ...died.failure, code: "BAD", message: "no such LoRA" }, false);
    });
    const finished = await ended(record.id);
    expect(finished).toMatchObject({ state: "failed", attempt: 1, failure: { code: "BAD" } });
  });

  test("stops a run that takes too long, for good, and says so", async () => {
    const { record } = await queue.submit(submission());
    startConsumer((_, { signal }) => untilAborted(signal), 0.1);
    expect(await ended(record.id)).toMatchObject({
      state: "failed",
      attempt: 1,
      failure: {
        code: "TIMEOUT",
        message: expect.stringMatching(/0\.1 seconds.*INFERENCE_TIMEOUT/),
      },
    });
  });

  test("a run that came to its end all the same, too late, is not thrown away", async () => {
    const { record } = await queue.submit(submission());
    startConsumer((_, { signal }) => untilAborted(signal).catch(() => noImages), 0.1);
    expect(await ended(record.id)).toMatchObject({ state: "succeeded", attempt: 1 });
  });

  test("hands a running request back without counting the run", async () => {
    const { record } = await queue.submit(submission());
    startConsumer((_, { signal }) => untilAborted(signal));
    while ((await queue.get(record.id))?.state !== "in_progress");
    stop.abort();
    handBack.abort();
    await Promise.all(consumers);
    expect(await queue.get(record.id)).toMatchObject({ state: "in_queue", attempt: 0 });
    stop = new AbortController();
    handBack = new AbortController();
    startConsumer(async () => noImages);
    expect((await ended(record.id))?.state).toBe("succeeded");
  });

  test("refuses more than may wait, and takes a repeated request once", async () => {
    const idempotency = { key: "k", fingerprint: "f" };
    const first = await queue.submit(submission({ idempotency }));
    const second = await queue.submit(submission({ idempotency }));
    expect(second).toMatchObject({ created: false, record: { id: first.record.id } });
    const other = submission({ idempotency: { key: "k", fingerprint: "other" } });
    await expect(queue.submit(other)).rejects.toBeInstanceOf(IdempotencyConflictError);
    const more = await Promise.allSettled(
      Array.from({ length: 10 }, () => queue.submit(submission())),
    );
    expect(more.filter(({ status }) => status === "fulfilled")).toHaveLength(4);
    const refused = more.find((result) => result.status === "rejected");
    expect(refused?.reason).toBeInstanceOf(QueueFullError);
    expect(refused?.reason.retryAfterSeconds).toBeGreaterThan(0);
  });

  test("takes the higher priority first, then the older, and the loaded model for a while", async () => {
    const order: string[] = [];
    const names = new Map<string, string>();
    const add = async (name: string, model: string, priority: number) => {
      const { record } = await queue.submit(submission({ job: jobFor({ model }), priority }));
      names.set(record.id, name);
      return record.id;
    };
    await add("a1", "a", 0);
    await add("b1", "b", 0);
    await add("a2", "a", 0);
    await add("b-urgent", "b", 5);
    const last = await add("a3", "a", 0);
    startConsumer(async ({ id }) => {
      order.push(names.get(id)!);
      return noImages;
    });
    await ended(last);
    while (order.length < 5) await new Promise((done) => setTimeout(done, 10));
    // The urgent one brings model b in; its next request then goes ahead of the older a1.
    expect(order).toEqual(["b-urgent", "b1", "a1", "a2", "a3"]);
  });

  /** Requests by name; while the first of them runs, a second worker takes the others. */
  async function takenBeside(
    running: [model: string, priority: number],
    waiting: [name: string, model: string, priority: number][],
    meanwhile: (runningId: string) => Promise<unknown> = async () => {},
  ): Promise<string[]> {
    const order: string[] = [];
    const names = new Map<string, string>();
    const add = async (name: string, model: string, priority: number) => {
      const { record } = await queue.submit(submission({ job: jobFor({ model }), priority }));
      names.set(record.id, name);
      return record.id;
    };
    const first = await add("running", ...running);
    // Even when it is taken over: it shall take no other.
    startConsumer(() => untilAborted(stop.signal).catch(() => noImages));
    while ((await queue.get(first))?.state !== "in_progress");
    await meanwhile(first);
    const others: string[] = [];
    for (const request of waiting) others.push(await add(...request));
    startConsumer(async ({ id }) => {
      order.push(names.get(id)!);
      return noImages;
    });
    for (const id of others) expect((await ended(id))?.state).toBe("succeeded");
    return order;
  }

  test("a running request does not stand for those of its model that wait", async () => {
    expect(
      await takenBeside(
        ["a", 10],
        [
          ["a-low", "a", -10],
          ["b-high", "b", 5],
        ],
      ),
    ).toEqual(["b-high", "a-low"]);
    stop.abort();
    await Promise.all(consumers.splice(0));
    stop = new AbortController();
    expect(
      await takenBeside(
        ["a", 0],
        [
          ["b-older", "b", 0],
          ["a-younger", "a", 0],
        ],
      ),
    ).toEqual(["b-older", "a-younger"]);
  });

  test("a request whose worker was given up stands in its old place", async () => {
    const giveUp = (id: string) => queue.boss.fail(queueName("a"), id);
    expect(
      await takenBeside(
        ["a", 10],
        [
          ["b-middle", "b", 5],
          ["a-low", "a", -10],
        ],
        giveUp,
      ),
    ).toEqual(["running", "b-middle", "a-low"]);
  });

  test("lists newest first, in pages, and forgets what has ended only", async () => {
    const ids: string[] = [];
    for (let i = 0; i < 3; i++) ids.push((await queue.submit(submission())).record.id);
    const page = await queue.list({ limit: 2 });
    expect(page.map(({ id }) => id)).toEqual([ids[2], ids[1]]);
    const rest = await queue.list({ limit: 2, after: page.at(-1)?.id });
    expect(rest.map(({ id }) => id)).toEqual([ids[0]]);
    await queue.remove(ids[0]!);
    expect((await queue.get(ids[0]!))?.state).toBe("in_queue");
    await queue.cancel(ids[0]!);
    await queue.remove(ids[0]!);
    expect(await queue.get(ids[0]!)).toBeUndefined();
  });
});

test("many nodes may open an empty Postgres at once", async () => {
  const url = await postgres.createDatabase("many", { empty: true });
  const opened = await Promise.all(
    Array.from({ length: 6 }, async () => {
      const database = await openPostgres(url, settings.onError);
      return { database, queue: await Queue.open(database, settings) };
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
  folder = mkdtempSync(join(tmpdir(), "retake-queue-"));
  await prepareQueue(folder);
  const database = await openEmbedded(folder);
  await expect(openEmbedded(folder)).rejects.toThrow(/is open in another process.*RETAKE_DATA/);
  await database.close();
  await (await openEmbedded(folder)).close();
  rmSync(folder, { recursive: true });
});
