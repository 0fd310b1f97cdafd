import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { demoRequest } from "./caller.ts";
import { PostgresServer } from "./postgres.ts";
import { ServerProcess } from "./server-process.ts";

// Two servers that only answer, three workers that only work, one Postgres.

let folder: string;
let postgres: PostgresServer;
let servers: ServerProcess[];
let workers: ServerProcess[];
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "retake-nodes-"));
  postgres = await PostgresServer.start();
  const env = { DATABASE_URL: postgres.url };
  servers = await Promise.all(
    [1, 2].map(() => ServerProcess.start(folder, { ...env, DEVICE: "none" })),
  );
  workers = await Promise.all(
    [1, 2, 3].map(() => ServerProcess.start(folder, { ...env, command: "worker" })),
  );
}, 120_000);
afterAll(async () => {
  await Promise.all([...servers, ...workers].map((node) => node.stop()));
  await postgres.stop();
  rmSync(folder, { recursive: true });
}, 60_000);

async function submit(server: ServerProcess, prompt: object): Promise<string> {
  const { body } = await server.call("POST", "/v1/inference", demoRequest({}, prompt));
  return body.request_id;
}

test("all workers share the work, and any server answers for it", async () => {
  const [first, second] = servers as [ServerProcess, ServerProcess];
  const ids: string[] = [];
  for (let i = 0; i < 24; i++)
    ids.push(await submit(i % 2 === 0 ? first : second, { sample_steps: 12 }));
  for (const [i, id] of ids.entries()) {
    const other = i % 2 === 0 ? second : first;
    const result = await other.ended(id);
    expect(result.status).toBe("succeeded");
    expect(
      (await fetch(new URL(new URL(result.outputs.images[0].url).pathname, other.url))).status,
    ).toBe(200);
  }
  const client = new Client({ connectionString: postgres.url });
  await client.connect();
  const { rows } = await client.query("SELECT DISTINCT node FROM retake.request");
  await client.end();
  expect(rows).toHaveLength(3);
});

test("events and cancels cross nodes", async () => {
  const [first, second] = servers as [ServerProcess, ServerProcess];
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
  const [first] = servers as [ServerProcess];
  const ids = await Promise.all(
    [1, 2, 3].map(() => submit(first, { sample_steps: 100, width: 256, height: 256 })),
  );
  const started = async () => {
    const statuses = await Promise.all(
      ids.map(async (id) => (await first.call("GET", `/v1/requests/${id}/status`)).body.status),
    );
    return statuses.filter((status) => status === "in_progress").length >= 2;
  };
  while (!(await started())) await new Promise((done) => setTimeout(done, 20));
  await workers[0]!.kill();
  for (const id of ids) expect((await first.ended(id)).status).toBe("succeeded");
}, 120_000);
