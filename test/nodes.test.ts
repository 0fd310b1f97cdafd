import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { demoRequest } from "./caller.ts";
import { PostgresServer } from "./postgres.ts";
import { ServerProcess } from "./server-process.ts";
import { TestServer } from "./test-server.ts";

// Two servers that only answer, three workers that only work, one Postgres.

let folder: string;
let postgres: PostgresServer;
let database: Client;
let servers: [TestServer, TestServer];
let workers: ServerProcess[];
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "retake-nodes-"));
  postgres = await PostgresServer.start();
  const env = { DATABASE_URL: await postgres.createDatabase("nodes") };
  database = new Client({ connectionString: env.DATABASE_URL });
  await database.connect();
  const answering = () => TestServer.start(folder, { ...env, DEVICE: "none" });
  servers = await Promise.all([answering(), answering()]);
  workers = await Promise.all(
    [1, 2, 3].map(() => ServerProcess.start(folder, { ...env, command: "worker" })),
  );
});
afterAll(async () => {
  await Promise.all([...servers, ...workers].map((node) => node.stop()));
  await database.end();
  await postgres.stop();
  rmSync(folder, { recursive: true });
});

async function submit(server: TestServer, prompt: object): Promise<string> {
  const { body } = await server.call("POST", "/v1/inference", demoRequest({}, prompt));
  return body.request_id;
}

async function rows(query: string, values: unknown[] = []) {
  return (await database.query(query, values)).rows;
}

test("all workers share the work, and any server answers for it", async () => {
  const ids: string[] = [];
  // Each has work as soon as it looks for it.
  for (let working = 0; working < 3; ) {
    for (const server of servers) ids.push(await submit(server, { sample_steps: 12 }));
    working = (await rows("SELECT DISTINCT node FROM retake.request WHERE node IS NOT NULL"))
      .length;
  }
  for (const [i, id] of ids.entries()) {
    const other = servers[i % 2 === 0 ? 1 : 0]!;
    const result = await other.ended(id);
    expect(result.status).toBe("succeeded");
    const { pathname } = new URL(result.outputs.images[0].url);
    expect((await other.call("GET", pathname)).status).toBe(200);
  }
});

test("events and cancels cross nodes", async () => {
  const [first, second] = servers;
  const id = await submit(first, { sample_steps: 150, width: 512, height: 512 });
  const stream = await fetch(new URL(`/v1/requests/${id}/events`, second.url));
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream.body!) {
    text += decoder.decode(chunk);
    if (/event: progress/.test(text)) break;
  }
  await second.call("POST", `/v1/requests/${id}/cancel`);
  expect((await first.ended(id)).status).toBe("canceled");
});

test("a worker that dies leaves its job to another", async () => {
  const id = await submit(servers[0], { sample_steps: 150, width: 256, height: 256 });
  const nodeOf = async () =>
    (await rows("SELECT node FROM retake.request WHERE id = $1", [id]))[0]?.node;
  await expect.poll(nodeOf, { timeout: 60_000 }).not.toBeNull();
  const node: string = await nodeOf();
  const [, pid] = node.split("/");
  await workers.find((worker) => String(worker.pid) === pid)!.kill();
  const waiting = await rows("SELECT state FROM retake.request WHERE id = $1", [id]);
  expect(waiting).toEqual([{ state: "in_progress" }]);
  // As if an hour had passed: the others go on with their signs of life, the dead one does not.
  await rows(
    "UPDATE pgboss.job SET heartbeat_on = heartbeat_on - interval '1 hour' WHERE id = $1",
    [id],
  );
  expect((await servers[0].ended(id)).status).toBe("succeeded");
  expect(await nodeOf()).not.toBe(node);
});
