import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { demoRequest } from "./caller.ts";
import { HubSite } from "./hub-site.ts";
import { lora } from "./lora-site.ts";
import { PostgresServer } from "./postgres.ts";
import { S3Server } from "./s3-server.ts";
import { ServerProcess } from "./server-process.ts";
import { TestServer } from "./test-server.ts";

// Two servers that only answer and a worker, each as on a machine of its own, with one Postgres.

const id = createHash("sha256").update(lora).digest("hex");
const token = "Qm9hdHMvYW5kL3BsYW5lcw-requests-own";

let folder: string;
let postgres: PostgresServer;
let store: S3Server;
let hub: HubSite;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "retake-shared-"));
  postgres = await PostgresServer.start();
  store = await S3Server.start("pictures");
  hub = await HubSite.start([token]);
}, 60_000);
afterAll(async () => {
  hub.stop();
  await store.stop();
  await postgres.stop();
  rmSync(folder, { recursive: true });
}, 60_000);

type Answering = ServerProcess | TestServer;

interface Nodes {
  readonly servers: readonly [Answering, Answering];
  readonly worker: ServerProcess;
  readonly stop: () => Promise<void>;
}

/** @param name of a database of their own, and of folders that each has for itself */
async function startNodes(
  name: string,
  shared: Readonly<Record<string, string>>,
  perNode: Readonly<Record<string, string>> = {},
): Promise<Nodes> {
  const DATABASE_URL = await postgres.createDatabase(name);
  const env = { DATABASE_URL, ...hub.environment, ...shared };
  // A bucket's settings are the process's: its client reads them there.
  const Kind = "AWS_ENDPOINT_URL_S3" in shared ? ServerProcess : TestServer;
  const answering = (which: string) =>
    Kind.start(join(folder, name, which), { ...env, DEVICE: "none" });
  const nodes = await Promise.all([
    answering("a"),
    answering("b"),
    ServerProcess.start(join(folder, name, "worker"), { ...env, command: "worker", ...perNode }),
  ]);
  const [first, second, worker] = nodes;
  const stop = async () => {
    await Promise.all(nodes.map((each) => each.stop()));
  };
  return { servers: [first, second], worker, stop };
}

async function upload(server: Answering): Promise<number> {
  const response = await fetch(new URL("/v1/loras", server.url), {
    method: "POST",
    headers: { "content-type": "application/octet-stream" },
    body: new Uint8Array(lora),
  });
  expect(await response.json()).toMatchObject({ id });
  return response.status;
}

async function run(server: Answering, path: string, fields: object = {}) {
  const body = demoRequest({ loras: [{ path }], ...fields });
  const { body: job } = await server.call("POST", "/v1/inference", body);
  return server.ended(job.request_id);
}

test("a shared folder: any server takes, knows and deletes an upload, any worker uses it", async () => {
  const uploads = join(folder, "folder-uploads");
  const { servers, stop } = await startNodes("folders", { RETAKE_UPLOADS: uploads });
  const [first, second] = servers;
  // At once on both.
  const statuses = await Promise.all([first, second, first, second].map(upload));
  expect(statuses.toSorted()).toEqual([200, 200, 200, 201]);
  expect(readdirSync(uploads)).toEqual([`upload-${id}.safetensors`]);
  const result = await run(second, `upload:${id}`);
  expect(result.status).toBe("succeeded");
  expect(result.outputs.images[0].effective.loras[0].sha256).toBe(id);
  expect((await second.call("DELETE", `/v1/loras/${id}`)).status).toBe(204);
  expect((await first.call("GET", `/v1/loras/${id}`)).status).toBe(404);
  expect(readdirSync(uploads)).toEqual([]);
  await stop();
}, 120_000);

test("uploading and deleting at once on two servers never leaves a record without its file", async () => {
  const uploads = join(folder, "race-uploads");
  const { servers, stop } = await startNodes("race", { RETAKE_UPLOADS: uploads });
  const [first, second] = servers;
  for (let round = 0; round < 8; round++) {
    await Promise.all([
      upload(first),
      second.call("DELETE", `/v1/loras/${id}`),
      upload(second),
      first.call("DELETE", `/v1/loras/${id}`),
    ]);
    const { status } = await first.call("GET", `/v1/loras/${id}`);
    expect(readdirSync(uploads)).toEqual(status === 200 ? [`upload-${id}.safetensors`] : []);
  }
  await stop();
}, 120_000);

test("a folder that is not shared is named as what is wrong", async () => {
  const { servers, stop } = await startNodes("apart", {});
  await upload(servers[0]);
  const result = await run(servers[1], `upload:${id}`);
  expect(result).toMatchObject({ status: "failed", error_code: "LORA_NOT_USABLE", outputs: null });
  expect(result.error).toMatch(/not in this node's folder of uploads.*RETAKE_UPLOADS/);
  expect(result.error).not.toContain(folder);
  await stop();
}, 120_000);

test("a bucket: the worker fetches an upload into its cache once, and checks its hash", async () => {
  const place = { OUTPUT_BASE_PATH: "s3://pictures/team", ...store.environment };
  const { servers, worker, stop } = await startNodes("bucket", place);
  const [first, second] = servers;
  const statuses = await Promise.all([first, second].map(upload));
  expect(statuses.toSorted()).toEqual([200, 201]);
  // Nothing stays on the server itself.
  expect(readdirSync(join(folder, "bucket", "a", "data", "uploads"))).toEqual([]);
  const result = await run(second, `upload:${id}`);
  expect(result.status).toBe("succeeded");
  const cached = join(folder, "bucket", "worker", "loras", `upload-${id}.safetensors`);
  expect(readFileSync(cached).equals(lora)).toBe(true);
  const inspected = await first.call("GET", `/v1/loras/inspect?path=upload:${id}`);
  expect(inspected.body.description.sha256).toBe(id);

  // Somebody changed the object behind our back.
  const { S3Client, PutObjectCommand } = await import("@aws-sdk/client-s3");
  const client = new S3Client({
    endpoint: store.environment.AWS_ENDPOINT_URL_S3!,
    region: "us-east-1",
    credentials: { accessKeyId: "S3RVER", secretAccessKey: "S3RVER" },
    forcePathStyle: true,
    requestChecksumCalculation: "WHEN_REQUIRED",
  });
  const changed = Buffer.from(lora);
  changed[lora.length - 1]! ^= 1;
  const Key = `team/uploads/upload-${id}.safetensors`;
  await client.send(new PutObjectCommand({ Bucket: "pictures", Key, Body: changed }));
  expect((await run(first, `upload:${id}`)).status).toBe("succeeded"); // from the cache
  writeFileSync(cached, "damaged");
  const refused = await run(first, `upload:${id}`);
  expect(refused).toMatchObject({ status: "failed", error_code: "LORA_NOT_USABLE" });
  expect(refused.error).toMatch(/another content/);
  expect(worker.running).toBe(true);

  expect((await second.call("DELETE", `/v1/loras/${id}`)).status).toBe(204);
  expect((await first.call("GET", "/v1/loras")).body.loras).toEqual([]);
  // Uploaded again, it is whole again.
  await upload(first);
  expect((await run(second, `upload:${id}`)).status).toBe("succeeded");
  await stop();
}, 120_000);

test("a token crosses nodes that share RETAKE_SECRET, and no others", async () => {
  const gated = "hf:o/gated/gated.safetensors";
  const secret = { RETAKE_SECRET: "a secret that all of the nodes have" };
  const together = await startNodes("sealed", secret);
  const good = await run(together.servers[0], gated, { hf_token: token });
  expect(good.status).toBe("succeeded");
  await together.stop();
  const apart = await startNodes("unsealed", {});
  const lost = await run(apart.servers[0], gated, { hf_token: token });
  expect(lost).toMatchObject({ status: "failed", error_code: "HF_TOKEN_LOST", outputs: null });
  for (const { log } of [...together.servers, together.worker, ...apart.servers, apart.worker])
    expect(log).not.toContain(token);
  for (const name of ["sealed", "unsealed"]) {
    const client = new Client({ connectionString: postgres.url.replace(/postgres$/, name) });
    await client.connect();
    const { rows } = await client.query("SELECT * FROM retake.request");
    const jobs = await client.query("SELECT * FROM pgboss.job");
    await client.end();
    expect(rows.map(({ sealed_token }) => sealed_token)).toEqual([null]);
    expect(JSON.stringify([rows, jobs.rows])).not.toContain(token);
  }
  await apart.stop();
}, 120_000);
