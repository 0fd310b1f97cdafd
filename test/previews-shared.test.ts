import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ListObjectsV2Command, S3Client } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, expect, test } from "vitest";
import { filesOfJob, uploadJob } from "./job-folders.ts";
import { PostgresServer } from "./postgres.ts";
import { S3Server } from "./s3-server.ts";
import { ServerProcess } from "./server-process.ts";

// A server that only answers and a worker, each as on a machine of its own, with one Postgres and one bucket.

let folder: string;
let postgres: PostgresServer;
let store: S3Server;
let server: ServerProcess;
let worker: ServerProcess;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "retake-previews-shared-"));
  postgres = await PostgresServer.start();
  store = await S3Server.start("team");
  const DATABASE_URL = await postgres.createDatabase("previews");
  const env = { ...store.environment, DATABASE_URL, OUTPUT_BASE_PATH: "s3://team/out" };
  server = await ServerProcess.start(join(folder, "server"), { ...env, DEVICE: "none" });
  worker = await ServerProcess.start(join(folder, "worker"), { ...env, command: "worker" });
}, 120_000);
afterAll(async () => {
  await Promise.all([server.stop(), worker.stop()]);
  await store.stop();
  await postgres.stop();
  rmSync(folder, { recursive: true });
}, 120_000);

/** Names of all that the bucket holds. */
async function objects(): Promise<string[]> {
  const { environment: own } = store;
  const client = new S3Client({
    endpoint: own.AWS_ENDPOINT_URL_S3!,
    region: own.AWS_REGION!,
    forcePathStyle: true,
    credentials: {
      accessKeyId: own.AWS_ACCESS_KEY_ID!,
      secretAccessKey: own.AWS_SECRET_ACCESS_KEY!,
    },
  });
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: "team" }));
  return Contents.map(({ Key }) => Key!);
}

test("one node receives a folder and answers, another takes its previews again", async () => {
  const files = filesOfJob("e2-lokr");
  const id = await uploadJob(server, files);
  const { body: job } = await server.call("POST", "/v1/previews", { upload: id });
  const { outputs } = await server.ended(job.request_id);
  expect(outputs.report.summary).toMatchObject({ previews: 6, equal: 6 });
  const [{ picture_url, preview_url }] = outputs.report.samples;
  for (const url of [outputs.report.html_url, outputs.report.json_url, picture_url, preview_url])
    expect((await fetch(url)).status).toBe(200);
  const contents = new Set(files.map(({ content }) => content.toString("base64"))).size;
  // Six pictures twice, the report in three forms.
  expect(await objects()).toHaveLength(contents + 6 + 6 + 3);
  await server.call("DELETE", `/v1/requests/${job.request_id}`);
  expect(await objects()).toHaveLength(contents);
  await server.call("DELETE", `/v1/previews/uploads/${id}`);
  expect(await objects()).toEqual([]);
  expect(readdirSync(join(folder, "worker", "data", "uploads"))).toEqual([]);
}, 120_000);
