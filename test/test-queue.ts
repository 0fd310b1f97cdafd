import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe } from "vitest";
import type { JobResult, PictureJob, RetakeJob } from "../src/job/job.ts";
import type { Run } from "../src/queue/consumer.ts";
import { consume } from "../src/queue/consumer.ts";
import type { Database } from "../src/queue/database.ts";
import { openEmbedded, openPostgres } from "../src/queue/database.ts";
import { Queue } from "../src/queue/queue.ts";
import type { RequestRecord } from "../src/queue/record.ts";
import type { Submission } from "../src/queue/submission.ts";
import { PostgresServer } from "./postgres.ts";
import { prepareQueue } from "./prepared.ts";

export const noImages: JobResult = { images: [], timings: {}, inferenceTime: 0.5 };
export const always = async (): Promise<boolean> => true;
export const queueSettings = {
  maxQueued: 5,
  onError: (error: unknown) => {
    throw error;
  },
};

export function jobFor(fields: Partial<PictureJob> = {}): PictureJob {
  return {
    kind: "pictures",
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
    asTrained: false,
    profile: "reference",
    format: "jpeg",
    previewEvery: null,
    ...fields,
  };
}

export function retakeJobFor(fields: Partial<RetakeJob> = {}): RetakeJob {
  return {
    ...{ kind: "retake", id: randomUUID(), model: "zimage_turbo", previews: 2 },
    source: { from: "disk", folder: "job" },
    ...{ options: {}, limitSeconds: null },
    ...fields,
  };
}

export function submission(fields: Partial<Submission> = {}): Submission {
  const none = { extra: {}, priority: 0, owner: "", sealedToken: null, uploads: [] };
  return { job: jobFor(), ...none, ...fields };
}

/** A run that ends with its signal, even one that came before it began. */
export function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, fail) => {
    const end = () => fail(new Error("stopped"));
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
  });
}

/** A queue of a test's own, with consumers in the test's process. */
export class TestQueue {
  readonly database: Database;
  readonly queue: Queue;
  stop = new AbortController();
  handBack = new AbortController();
  readonly #consumers: Promise<void>[] = [];

  constructor(database: Database, queue: Queue) {
    this.database = database;
    this.queue = queue;
  }

  startConsumer(run: Run, timeoutSeconds = 30): void {
    const { stop, handBack } = this;
    this.#consumers.push(
      consume(this.queue, {
        name: "test",
        isReady: always,
        timeoutSeconds,
        stop: stop.signal,
        handBack: handBack.signal,
        run,
        onError: queueSettings.onError,
      }),
    );
  }

  /** Stops all consumers; others can be started then. */
  async stopConsumers(): Promise<void> {
    this.stop.abort();
    await Promise.all(this.#consumers.splice(0));
    this.stop = new AbortController();
    this.handBack = new AbortController();
  }

  async ended(id: string): Promise<RequestRecord | undefined> {
    for await (const _ of this.queue.events(id, 0, new AbortController().signal));
    return this.queue.get(id);
  }
}

/** The same tests on both databases, each with an empty queue. @param tests gets what opens it */
export function onBothDatabases(title: string, tests: (opened: () => TestQueue) => void): void {
  describe.each(["embedded", "Postgres"])(`${title} on %s`, (kind) => {
    let postgres: PostgresServer | undefined;
    let databases = 0;
    let folder: string;
    let opened: TestQueue;
    beforeAll(async () => {
      if (kind === "Postgres") postgres = await PostgresServer.start();
    });
    afterAll(() => postgres?.stop());
    beforeEach(async () => {
      folder = mkdtempSync(join(tmpdir(), "retake-queue-"));
      let database: Database;
      if (postgres === undefined) {
        await prepareQueue(folder);
        database = await openEmbedded(folder);
      } else {
        const url = await postgres.createDatabase(`test_${databases++}`);
        database = await openPostgres(url, queueSettings.onError);
      }
      opened = new TestQueue(database, await Queue.open(database, queueSettings));
    });
    afterEach(async () => {
      await opened.stopConsumers();
      await opened.queue.close();
      await opened.database.close();
      rmSync(folder, { recursive: true });
    });
    tests(() => opened);
  });
}
