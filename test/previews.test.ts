import { execFile } from "node:child_process";
import { once } from "node:events";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text as consumeText } from "node:stream/consumers";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { addApiKey } from "../src/http/api-keys.ts";
import { filesOfJob, jobFolders, uploadJob } from "./job-folders.ts";
import { TestServer } from "./test-server.ts";

const folder = mkdtempSync(join(tmpdir(), "retake-previews-"));
const loras = join(folder, "loras-of-ours");
let server: TestServer;
beforeAll(async () => {
  mkdirSync(loras, { recursive: true });
  cpSync(join(jobFolders, "e2-lokr"), join(loras, "cats", "e2-lokr"), { recursive: true });
  server = await TestServer.start(join(folder, "plain"), { WORKFLOWS_BASE_PATH: loras });
});
afterAll(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

const ask = (body: object) => server.call("POST", "/v1/previews", body);
const resultFiles = () => readdirSync(join(folder, "plain", "out"));

async function eventsOf(id: string) {
  const { body } = await server.call("GET", `/v1/requests/${id}/events`);
  return [...String(body).matchAll(/^event: (\w+)\ndata: (.*)$/gm)].map(([, type, data]) => ({
    type,
    ...JSON.parse(data!),
  }));
}

test("a job below the LoRA folder is taken again, reported, and deleted with its request", async () => {
  const { body: list } = await server.call("GET", "/v1/previews/jobs");
  expect(list).toEqual({
    jobs: [{ folder: "cats/e2-lokr", previews: 6, loras: 2 }],
    next: null,
  });
  const { status, body: job } = await ask({ folder: "cats/e2-lokr" });
  expect(status).toBe(200);
  const events = await eventsOf(job.request_id);
  const result = await server.ended(job.request_id);
  expect(result).toMatchObject({ status: "succeeded", error: null, partial_outputs: null });
  const { report } = result.outputs;
  expect(report).toMatchObject({ job: "e2-lokr", finished: true });
  expect(report.summary).toMatchObject({ previews: 6, equal: 6, waiting: 0 });
  expect(JSON.stringify(result)).not.toContain(folder);

  const told = events.filter(({ type }) => type === "retake");
  expect(told.map(({ preview }) => preview).sort()).toEqual(
    report.samples.map((sample: { preview: string }) => sample.preview).sort(),
  );
  const progress = events.filter(({ type }) => type === "progress");
  expect(progress.some(({ step, total }) => step > 0 && step <= total)).toBe(true);
  const { body: standing } = await server.call("GET", `/v1/requests/${job.request_id}/status`);
  expect(standing.progress).toMatchObject({ prompts: 6, prompt_index: 6 });

  for (const sample of report.samples) {
    const picture = await fetch(sample.picture_url);
    expect(picture.headers.get("content-type")).toBe("image/png");
    const preview = Buffer.from(await (await fetch(sample.preview_url)).arrayBuffer());
    expect(preview.equals(readFileSync(join(loras, "cats/e2-lokr", sample.preview)))).toBe(true);
  }
  const page = await fetch(report.html_url);
  expect(page.headers.get("content-disposition")).toBe('attachment; filename="report.html"');
  expect(page.headers.get("content-type")).toBe("application/octet-stream");
  expect(page.headers.get("content-security-policy")).toBe("sandbox");
  const text = await page.text();
  expect(text).toContain("e2-lokr");
  expect(text).not.toContain(folder);
  const { json_url: _, html_url: __, ...plain } = report;
  const json = await (await fetch(report.json_url)).json();
  expect(json).toEqual({
    ...plain,
    samples: plain.samples.map(
      ({ preview_url: ___, picture_url: ____, ...sample }: Record<string, unknown>) => sample,
    ),
  });
  const own = `/v1/requests/${job.request_id}/files/${job.request_id}_report.jsonl`;
  expect((await server.call("GET", own)).status).toBe(404);

  expect((await server.call("DELETE", `/v1/requests/${job.request_id}`)).status).toBe(204);
  expect(resultFiles()).toEqual([]);
  expect(readdirSync(join(folder, "plain", "data", "uploads"))).toEqual([]);
});

test("an uploaded folder gives the same", async () => {
  const id = await uploadJob(server, filesOfJob("e2-lokr"));
  const { body: job } = await ask({ upload: id, steps: [4] });
  const { outputs } = await server.ended(job.request_id);
  expect(outputs.report.summary).toMatchObject({ previews: 2, equal: 2 });
  await server.call("DELETE", `/v1/previews/uploads/${id}`);
  expect(readdirSync(join(folder, "plain", "data", "uploads"))).toEqual([]);
  await server.call("DELETE", `/v1/requests/${job.request_id}`);
});

test("the documented commands ask for a folder, and upload one", async () => {
  cpSync(join(jobFolders, "e2-lokr"), join(loras, "my_cat"), { recursive: true });
  const page = readFileSync(new URL("../docs/server.md", import.meta.url), "utf8");
  const [, section = ""] = page.split("## A training's previews, again");
  const blocks = [...section.split("\n## ", 1)[0]!.matchAll(/```sh\n(.*?)```/gs)];
  expect(blocks).toHaveLength(2);
  for (const [, block] of blocks) {
    const script = block!.replaceAll("http://127.0.0.1:8000", server.url);
    const run = promisify(execFile)("sh", ["-ec", script], { cwd: join(loras, "my_cat") });
    const { request_id } = JSON.parse((await run).stdout);
    const { outputs } = await server.ended(request_id);
    expect(outputs.report.summary).toMatchObject({ previews: 6, equal: 6 });
    await server.call("DELETE", `/v1/requests/${request_id}`);
  }
  rmSync(join(loras, "my_cat"), { recursive: true });
});

test("jobs are listed in pages, by name, and nothing else is", async () => {
  const many = join(folder, "many");
  const names = ["a", "a-b", "a/b", "a/b/c", "x/y/z/deep", "x/y/z/deep/er", "ü"];
  for (const name of names) {
    mkdirSync(join(many, name, "samples"), { recursive: true });
    if (name !== "a") writeFileSync(join(many, name, ".job_config.json"), "{}");
  }
  mkdirSync(join(many, ".hidden", "samples"), { recursive: true });
  writeFileSync(join(many, ".hidden", "config.yaml"), "");
  symlinkSync(join(many, "ü"), join(many, "link"));
  const own = await TestServer.start(join(folder, "listing"), {
    ...{ WORKFLOWS_BASE_PATH: many, DEVICE: "none" },
  });
  const seen: string[] = [];
  let next: string | null = null;
  do {
    const after: string = next === null ? "" : `&after=${encodeURIComponent(next)}`;
    const { body } = await own.call("GET", `/v1/previews/jobs?limit=1${after}`);
    seen.push(...body.jobs.map((job: { folder: string }) => job.folder));
    next = body.next;
  } while (next !== null);
  // a/b/c lies in a job, and x/y/z/deep/er deeper than is looked.
  expect(seen).toEqual(["a-b", "a/b", "x/y/z/deep", "ü"]);
  for (const query of ["limit=0", "limit=x"])
    expect((await own.call("GET", `/v1/previews/jobs?${query}`)).status).toBe(400);
  await own.stop();
  const none = await TestServer.start(join(folder, "nowhere"), {
    ...{ WORKFLOWS_BASE_PATH: join(folder, "not-there"), DEVICE: "none" },
  });
  expect((await none.call("GET", "/v1/previews/jobs")).status).toBe(503);
  expect((await none.call("POST", "/v1/previews", { folder: "x" })).status).toBe(503);
  await none.stop();
});

test("wrong fields", async () => {
  for (const body of [
    {},
    { folder: "a", upload: "b" },
    { folder: 1 },
    { folder: "a", steps: [-1] },
    { folder: "a", samples: "x" },
    { folder: "a", era: "reference" },
    { folder: "a", limit_seconds: -1 },
    { folder: "a", as_trained: 7 },
    { folder: "a", priority: 11 },
    "folder",
  ])
    expect((await ask(body as object)).status).toBe(422);
  expect((await ask({ upload: "../x" })).body.detail.error.code).toBe("JOB_UPLOAD_NOT_FOUND");
  const hook = await ask({ folder: "cats/e2-lokr", webhook_url: "http://x.example/" });
  expect([hook.status, hook.body.detail.error.code]).toEqual([400, "INVALID_PARAMETER"]);
  const token = await ask({ folder: 1, hf_token: "hf_secretsecret" });
  expect(JSON.stringify(token.body)).not.toContain("hf_secret");
});

test("a repeated request is one", async () => {
  const key = { "idempotency-key": "once" };
  const body = { folder: "cats/e2-lokr", steps: [0], samples: [0] };
  const first = await server.call("POST", "/v1/previews", body, key);
  const second = await server.call("POST", "/v1/previews", body, key);
  expect(second.body.request_id).toBe(first.body.request_id);
  const other = await server.call("POST", "/v1/previews", { ...body, steps: [2] }, key);
  expect([other.status, other.body.detail.error.code]).toEqual([409, "IDEMPOTENCY_CONFLICT"]);
  const { outputs } = await server.ended(first.body.request_id);
  expect(outputs.report.samples).toHaveLength(1);
});

test("a cancel keeps what is done; a restarted server goes on with it", async () => {
  const env = { WORKFLOWS_BASE_PATH: loras };
  const own = join(folder, "restarted");
  const first = await TestServer.start(own, env);
  const { body: job } = await first.call("POST", "/v1/previews", { folder: "cats/e2-lokr" });
  const stream = await fetch(job.events_url);
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream.body!) {
    text += decoder.decode(chunk);
    if (text.includes("event: retake")) break;
  }
  await first.stop();
  const second = await TestServer.start(own, env);
  const result = await second.ended(job.request_id);
  expect(result.outputs.report.summary).toMatchObject({ previews: 6, equal: 6 });

  const { body: long } = await second.call("POST", "/v1/previews", { folder: "cats/e2-lokr" });
  const events = await fetch(new URL(`/v1/requests/${long.request_id}/events`, second.url));
  text = "";
  for await (const chunk of events.body!) {
    text += decoder.decode(chunk);
    if (text.includes("event: retake")) break;
  }
  await second.call("POST", `/v1/requests/${long.request_id}/cancel`);
  const canceled = await second.ended(long.request_id);
  expect(canceled).toMatchObject({ status: "canceled", outputs: null, error_code: "CANCELED" });
  const { report } = canceled.partial_outputs;
  expect(report.samples.length).toBeGreaterThan(0);
  expect(report.summary.waiting).toBe(6 - report.samples.length);
  expect((await fetch(new URL(new URL(report.html_url).pathname, second.url))).status).toBe(200);
  await second.stop();
});

test("a webhook brings the report", async () => {
  const own = await TestServer.start(join(folder, "hooked"), {
    WORKFLOWS_BASE_PATH: loras,
    RETAKE_WEBHOOK_SECRET: "a secret of sixteen characters",
    RETAKE_ALLOW_HTTP: "1",
    RETAKE_ALLOW_ADDRESSES: "127.0.0.1",
  });
  const receiver = createServer();
  const received = new Promise<string>((done) => {
    receiver.on("request", (request, response) => {
      response.end();
      done(consumeText(request));
    });
  });
  receiver.listen(0, "127.0.0.1");
  await once(receiver, "listening");
  const { port } = receiver.address() as AddressInfo; // a TCP server's address
  const webhook_url = `http://127.0.0.1:${port}/`;
  await own.call("POST", "/v1/previews", {
    ...{ folder: "cats/e2-lokr", steps: [4], samples: [1], webhook_url },
  });
  const body = JSON.parse(await received);
  expect(body).toMatchObject({ status: "succeeded", outputs: { report: { finished: true } } });
  receiver.close();
  await own.stop();
});

test("with keys a request and its files are its key's alone", async () => {
  const keys = join(folder, "keys.json");
  const secrets = { alice: await addApiKey(keys, "alice"), bob: await addApiKey(keys, "bob") };
  const own = await TestServer.start(join(folder, "guarded"), {
    ...{ WORKFLOWS_BASE_PATH: loras, RETAKE_API_KEYS: keys },
  });
  const as = (name: "alice" | "bob") => ({ authorization: `Bearer ${secrets[name]}` });
  expect((await own.call("GET", "/v1/previews/jobs")).status).toBe(401);
  const body = { folder: "cats/e2-lokr", steps: [0], samples: [0] };
  expect((await own.call("POST", "/v1/previews", body)).status).toBe(401);
  const { body: job } = await own.call("POST", "/v1/previews", body, as("alice"));
  const path = `/v1/requests/${job.request_id}`;
  await expect
    .poll(
      async () => (await own.call("GET", `${path}/status`, undefined, as("alice"))).body.status,
      {
        timeout: 60_000,
      },
    )
    .toBe("succeeded");
  const { body: result } = await own.call("GET", `${path}/result`, undefined, as("alice"));
  const { pathname } = new URL(result.outputs.report.json_url);
  expect((await own.call("GET", pathname, undefined, as("alice"))).status).toBe(200);
  for (const place of [pathname, `${path}/result`, `${path}/status`, `${path}/events`])
    expect((await own.call("GET", place, undefined, as("bob"))).status).toBe(404);
  expect((await own.call("DELETE", path, undefined, as("bob"))).status).toBe(404);
  expect((await own.call("POST", `${path}/cancel`, undefined, as("bob"))).status).toBe(404);
  await own.stop();
});
