import { expect, test } from "vitest";
import {
  jobFor,
  noImages,
  onBothDatabases,
  submission,
  untilAborted,
} from "../../test/test-queue.ts";
import type { JobResult } from "../job/job.ts";
import { failWaiting } from "./fail-waiting.ts";
import { waitingModels } from "./preference.ts";
import { queueName } from "./queue.ts";

onBothDatabases("the order", (at) => {
  /** Requests by name, and the order in which they were run. */
  function namedRequests() {
    const order: string[] = [];
    const names = new Map<string, string>();
    return {
      order,
      async add(name: string, model: string, priority: number): Promise<string> {
        const { record } = await at().queue.submit(
          submission({ job: jobFor({ model }), priority }),
        );
        names.set(record.id, name);
        return record.id;
      },
      async run({ id }: { id: string }): Promise<JobResult> {
        order.push(names.get(id)!);
        return noImages;
      },
    };
  }

  test("takes the higher priority first, then the older, and the loaded model for a while", async () => {
    const { order, add, run } = namedRequests();
    await add("a1", "a", 0);
    await add("b1", "b", 0);
    await add("a2", "a", 0);
    await add("b-urgent", "b", 5);
    const last = await add("a3", "a", 0);
    at().startConsumer(run);
    await at().ended(last);
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
    const { order, add, run } = namedRequests();
    const first = await add("running", ...running);
    // Even when it is taken over: it shall take no other.
    at().startConsumer(() => untilAborted(at().stop.signal).catch(() => noImages));
    while ((await at().queue.get(first))?.state !== "in_progress");
    await meanwhile(first);
    const others: string[] = [];
    for (const request of waiting) others.push(await add(...request));
    at().startConsumer(run);
    for (const id of others) expect((await at().ended(id))?.state).toBe("succeeded");
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
    await at().stopConsumers();
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
    const giveUp = (id: string) => at().queue.boss.fail(queueName("a"), id);
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

  test("requests for a model that can't be had fail while they wait, not while they run", async () => {
    const add = async (model: string) =>
      (await at().queue.submit(submission({ job: jobFor({ model }) }))).record.id;
    const running = await add("a");
    const givenUp = await add("a");
    for (const _ of [running, givenUp])
      at().startConsumer(() => untilAborted(at().stop.signal).catch(() => noImages));
    for (const id of [running, givenUp])
      while ((await at().queue.get(id))?.state !== "in_progress");
    await at().queue.boss.fail(queueName("a"), givenUp);
    const waiting = await add("a");
    const other = await add("b");
    const failure = { code: "GONE", message: "not to be had", promptIndex: null, images: [] };
    const failed = await failWaiting(at().queue, "a", failure);
    expect(failed.toSorted()).toEqual([givenUp, waiting].toSorted());
    for (const id of failed)
      expect(await at().queue.get(id)).toMatchObject({ state: "failed", failure });
    expect((await at().queue.get(running))?.state).toBe("in_progress");
    expect((await at().queue.get(other))?.state).toBe("in_queue");
    expect((await waitingModels(at().database)).map(({ model }) => model)).toEqual(["b"]);
  });
});
