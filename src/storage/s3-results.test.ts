import { randomUUID } from "node:crypto";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { S3Server } from "../../test/s3-server.ts";
import { jobOf } from "../../test/worker-jobs.ts";
import { openResults } from "./open-results.ts";

let store: S3Server;
beforeAll(async () => {
  store = await S3Server.start("pictures");
  for (const [name, value] of Object.entries(store.environment)) vi.stubEnv(name, value);
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await store.stop();
});

test("results are kept in a bucket, read back and removed with their request", async () => {
  const results = await openResults("s3://pictures/team/a");
  const id = randomUUID();
  const other = randomUUID();
  await results.write(`${id}_output_0.jpg`, Buffer.from("first"));
  await results.write(`${id}_preview_0_2.jpg`, Buffer.from("small"));
  await results.write(`${other}_output_0.png`, Buffer.from("other"));
  const found = await results.read(`${id}_output_0.jpg`);
  expect(found?.bytes).toBe(5);
  expect(await text(found!.content)).toBe("first");
  expect(await results.read(`${randomUUID()}_output_0.jpg`)).toBeUndefined();
  expect(await results.read("../../etc/passwd")).toBeUndefined();
  await expect(results.write("x.jpg", Buffer.from("x"))).rejects.toThrow(
    /not the name of a result/,
  );
  await results.removeAll(jobOf([], { id }));
  expect(await results.read(`${id}_preview_0_2.jpg`)).toBeUndefined();
  expect((await results.read(`${other}_output_0.png`))?.bytes).toBe(5);
});

test("all files of a report are removed, more than the store lists at once", async () => {
  const results = await openResults("s3://pictures/team/b");
  const id = randomUUID();
  const names = Array.from({ length: 1005 }, (_, i) => `${id}_retake_${i}.png`);
  for (let i = 0; i < names.length; i += 50)
    await Promise.all(
      names.slice(i, i + 50).map((name) => results.write(name, Buffer.from("picture"))),
    );
  await results.removeAll(jobOf([], { id }));
  const left = await Promise.all(names.slice(-10).map((name) => results.read(name)));
  expect(left.every((found) => found === undefined)).toBe(true);
}, 60_000);

test("a bucket that isn't there is named", async () => {
  await expect(openResults("s3://nothing-here")).rejects.toThrow(
    /bucket nothing-here can't be used/,
  );
});
