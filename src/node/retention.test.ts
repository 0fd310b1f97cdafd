import { randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { prepareQueue } from "../../test/prepared.ts";
import type { Job } from "../job/job.ts";
import type { Database } from "../queue/database.ts";
import { openEmbedded } from "../queue/database.ts";
import { Queue } from "../queue/queue.ts";
import { ResultFolder } from "../storage/results.ts";
import { forget, forgetOld } from "./retention.ts";

const folder = mkdtempSync(join(tmpdir(), "retake-forget-"));
const files = join(folder, "out");
const errors: unknown[] = [];
let database: Database;
let queue: Queue;
let results: ResultFolder;
beforeAll(async () => {
  const data = join(folder, "data");
  await prepareQueue(data);
  database = await openEmbedded(data);
  queue = await Queue.open(database, { maxQueued: 100, onError: () => {} });
  results = await ResultFolder.open(files);
}, 60_000);
afterAll(async () => {
  await queue.close();
  await database.close();
  rmSync(folder, { recursive: true });
});

const prompt = {
  ...{ prompt: "", negativePrompt: "", triggerWord: null },
  ...{ width: null, height: null, guidanceScale: null, seed: "1" },
};

/** A request that has ended, with the files of a run that was killed before it told of them. */
async function ended(): Promise<Job> {
  const job: Job = {
    kind: "pictures",
    id: randomUUID(),
    model: "zimage_turbo",
    loras: [],
    prompts: [
      { ...prompt, steps: 9 },
      { ...prompt, steps: null },
    ],
    asTrained: false,
    profile: "reference",
    format: "webp",
    previewEvery: 3,
  };
  const none = { extra: {}, priority: 0, owner: "", sealedToken: null, uploads: [] };
  await queue.submit({ job, ...none });
  await queue.cancel(job.id);
  for (const name of ["output_0.webp", "output_1.webp", "preview_0_3.jpg", "preview_1_150.jpg"])
    await results.write(`${job.id}_${name}`, Buffer.from("x"));
  return job;
}

const old = () => forgetOld(0, { queue, results, onError: (error) => errors.push(error) });

test("a request's files go with it, and nobody else's", async () => {
  const [one, other] = [await ended(), await ended()];
  const record = (await queue.get(one.id))!;
  await forget(record, { queue, results });
  expect(await queue.get(one.id)).toBeUndefined();
  expect(readdirSync(files).every((name) => name.startsWith(other.id))).toBe(true);
  expect(readdirSync(files)).toHaveLength(4);
  // A second removal at once finds what the first left: nothing.
  await forget(record, { queue, results });
  await old();
  expect([readdirSync(files), await queue.list({ limit: 9 })]).toEqual([[], []]);
});

test("retention removes files before records, and goes on after one that stays", async () => {
  const [stuck, other] = [await ended(), await ended()];
  // No file can be removed where a folder that isn't empty has its name.
  const name = join(files, `${stuck.id}_preview_0_6.jpg`);
  mkdirSync(name);
  writeFileSync(join(name, "x"), "x");
  await old();
  expect(errors).toHaveLength(1);
  expect(await queue.get(other.id)).toBeUndefined();
  // Its record is there still, so that the next time finds the rest.
  expect((await queue.get(stuck.id))?.state).toBe("canceled");
  rmSync(join(name, "x"));
  rmdirSync(name);
  await old();
  expect([readdirSync(files), await queue.list({ limit: 9 })]).toEqual([[], []]);
});

test("what has not ended is not forgotten", async () => {
  const job = await ended();
  const id = randomUUID();
  const none = { extra: {}, priority: 0, owner: "", sealedToken: null, uploads: [] };
  await queue.submit({ job: { ...job, id }, ...none });
  await queue.remove(id);
  await old();
  expect((await queue.list({ limit: 9 })).map((record) => record.id)).toEqual([id]);
});
