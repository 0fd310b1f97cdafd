import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { profileNames } from "../src/job/request.ts";
import { models } from "../src/models/registry.ts";
import { demoRequest } from "./caller.ts";
import { serve } from "./loopback.ts";
import { startRetake } from "./retake-process.ts";
import { ServerProcess } from "./server-process.ts";
import { TestServer } from "./test-server.ts";

let folder: string;
let server: TestServer;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "retake-server-"));
  server = await TestServer.start(folder, {
    RETAKE_ALLOW_HTTP: "true",
    RETAKE_ALLOW_ADDRESSES: "127.0.0.1",
    RETAKE_WEBHOOK_SECRET: "a secret of 20 chars",
  });
});
afterAll(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

const pagesWithCurl = ["server", ...models.map(({ id }) => `models/${id}`)];
test.each(pagesWithCurl)("the curl of docs/%s.md gets its picture", async (name) => {
  const file = fileURLToPath(new URL(`../docs/${name}.md`, import.meta.url));
  const page = readFileSync(file, "utf8");
  const command = /^curl http:\/\/127\.0\.0\.1:8000[\s\S]*?'\n```/m
    .exec(page)![0]
    .replace(/\n```$/, "");
  const here = command.replace("http://127.0.0.1:8000", server.url);
  const { stdout } = await promisify(execFile)("sh", ["-c", here]);
  const result = await server.ended(JSON.parse(stdout).request_id);
  const [image] = result.outputs.images;
  expect(image).toMatchObject({ format: "jpeg", width: 256, height: 256, seed: 42 });
  expect(existsSync(image.file_path)).toBe(true);
  const served = await fetch(image.url);
  expect(served.headers.get("content-type")).toBe("image/jpeg");
  const bytes = Buffer.from(await served.arrayBuffer());
  expect(bytes.equals(readFileSync(image.file_path))).toBe(true);
  expect((await sharp(bytes).metadata()).width).toBe(256);
});

test("prompts of one request: order, seeds, sizes, trigger words, formats", async () => {
  const prompts = [
    { prompt: "[trigger] a red circle", width: 95, height: 70, sample_steps: 3 },
    { prompt: "[trigger] a star", trigger_word: "own", width: 64, height: 64, sample_steps: 3 },
    { prompt: "a square", width: 64, height: 64, sample_steps: 3, seed: -1 },
    { prompt: "a square", width: 64, height: 64, sample_steps: 3, seed: "18446744073709551615" },
  ];
  const body = demoRequest({ prompts, trigger_word: "zorple", output_format: "webp" });
  const { body: job } = await server.call("POST", "/v1/inference", body);
  const result = await server.ended(job.request_id);
  const { images } = result.outputs;
  expect(
    images.map(({ width, height }: { width: number; height: number }) => [width, height]),
  ).toEqual([
    [64, 64],
    [64, 64],
    [64, 64],
    [64, 64],
  ]);
  expect(images[0].effective.prompt).toBe("zorple a red circle");
  expect(images[1]).toMatchObject({ seed: 43, effective: { prompt: "own a star" } });
  expect(images[2].seed).toBeLessThan(2_147_483_647);
  const raw = await (
    await fetch(new URL(`/v1/requests/${job.request_id}/result`, server.url))
  ).text();
  expect(raw).toContain('"seed":18446744073709551615');
  expect(images[3].file_path).toMatch(/_output_3\.webp$/);
  expect(result.metadata.timings.prompts).toHaveLength(4);
  expect(result.metadata.timings.pipeline_details.cache_action).toMatch(
    /reuse|hot_swap|fresh_load/,
  );
});

test("events tell of steps and previews, and go on where a client was cut off", async () => {
  const body = demoRequest({ preview_every: 2 }, { sample_steps: 8, width: 256, height: 256 });
  const { body: job } = await server.call("POST", "/v1/inference", body);
  const whole = await (await fetch(job.events_url)).text();
  const ids = [...whole.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id));
  expect(ids).toEqual(ids.toSorted((a, b) => a - b));
  expect(whole).toMatch(/event: preview/);
  expect(whole.trimEnd()).toMatch(/event: state\ndata: .*"status":"succeeded"}$/);
  const rest = await fetch(job.events_url, { headers: { "last-event-id": String(ids.at(-2)) } });
  expect([...(await rest.text()).matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id))).toEqual([
    ids.at(-1),
  ]);
  const preview = /"url":"([^"]+_preview_[^"]+)"/.exec(whole)![1]!;
  expect((await fetch(preview)).status).toBe(200);
});

test("a running request is canceled, kept as canceled, and deleted with its files", async () => {
  const { body: job } = await server.call(
    "POST",
    "/v1/inference",
    demoRequest({}, { sample_steps: 150, width: 512, height: 512 }),
  );
  const path = `/v1/requests/${job.request_id}`;
  const status = async () => (await server.call("GET", `${path}/status`)).body.status;
  await expect.poll(status, { timeout: 60_000 }).toBe("in_progress");
  expect((await server.call("DELETE", path)).body.detail.error.code).toBe("REQUEST_NOT_FINISHED");
  await server.call("POST", `${path}/cancel`);
  const result = await server.ended(job.request_id);
  expect(result).toMatchObject({ status: "canceled", outputs: null, error: null });
  expect((await server.call("DELETE", path)).status).toBe(204);
  expect((await server.call("GET", `${path}/status`)).status).toBe(404);
  const left = readdirSync(join(folder, "out"));
  expect(left.filter((name) => name.startsWith(job.request_id))).toEqual([]);
});

test("a repeated idempotency key is one request; another body under it is refused", async () => {
  const headers = { "idempotency-key": "once" };
  const first = await server.call("POST", "/v1/inference", demoRequest(), headers);
  const second = await server.call("POST", "/v1/inference", demoRequest(), headers);
  expect(second.body.request_id).toBe(first.body.request_id);
  const other = await server.call("POST", "/v1/inference", demoRequest({ priority: 1 }), headers);
  expect([other.status, other.body.detail.error.code]).toEqual([409, "IDEMPOTENCY_CONFLICT"]);
});

test("a webhook brings the result, signed", async () => {
  const seen = await new Promise<{ headers: Record<string, unknown>; body: string }>((resolve) => {
    const receiver = createServer((request, response) => {
      let body = "";
      request.on("data", (chunk) => {
        body += chunk;
      });
      request.on("end", () => {
        response.end();
        receiver.close();
        resolve({ headers: request.headers, body });
      });
    }).listen(0, "127.0.0.1", () => {
      const { port } = receiver.address() as AddressInfo; // a TCP server's address
      const webhook_url = `http://127.0.0.1:${port}/hook`;
      void server.call("POST", "/v1/inference", demoRequest({ webhook_url }));
    });
  });
  expect(JSON.parse(seen.body)).toMatchObject({ status: "succeeded", error: null });
  expect(seen.headers["webhook-signature"]).toMatch(/^v1,/);
});

test("a LoRA that can't be used fails its request with the reason, not the server", async () => {
  const site = await serve((_, response) => response.writeHead(410).end());
  const url = `${site}/x.safetensors?token=very-secret`;
  const { body } = await server.call(
    "POST",
    "/v1/inference",
    demoRequest({ loras: [{ path: url }] }),
  );
  const result = await server.ended(body.request_id);
  expect(result).toMatchObject({ status: "failed", outputs: null, error_code: "LORA_NOT_USABLE" });
  expect(result.error).toMatch(/127\.0\.0\.1:\d+\/x\.safetensors answered with HTTP status 410/);
  expect(server.log).not.toContain("very-secret");
});

test("health, readiness, metrics, models, documentation", async () => {
  expect((await server.call("GET", "/health")).body).toEqual({ status: "healthy" });
  expect((await server.call("GET", "/ready")).status).toBe(200);
  const metrics = await server.call("GET", "/metrics");
  expect(metrics.body).toMatch(/retake_requests\{state="succeeded"\} \d+/);
  const { body: listed } = await server.call("GET", "/v1/models");
  expect(listed.models).toHaveLength(3);
  const reason = "the CPU takes weights as stored";
  expect(listed.storages).toEqual(
    listed.models.map(({ id }: { id: string }) => {
      return { model: id, device: "cpu", storage: "original", reason };
    }),
  );
  expect(listed.profiles.map(({ name }: { name: string }) => name)).toEqual(profileNames);
  const docs = await server.call("GET", "/docs");
  expect(docs.headers.get("content-type")).toMatch(/html/);
  // Nothing on the page comes from elsewhere.
  expect(docs.body).not.toMatch(/(?:src|href)="https?:/);
});

test("traces go where OpenTelemetry's variables say", async () => {
  const bodies: Buffer[] = [];
  const collector = createServer((request, response) => {
    request.on("data", (chunk) => bodies.push(chunk));
    request.on("end", () => response.end());
  });
  await new Promise<void>((done) => collector.listen(0, "127.0.0.1", done));
  const { port } = collector.address() as AddressInfo; // a TCP server's address
  const traced = await ServerProcess.start(join(folder, "traced"), {
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
  });
  const { body } = await traced.call("POST", "/v1/inference", demoRequest());
  await traced.ended(body.request_id);
  expect(await traced.stop()).toBe(0);
  collector.close();
  const sent = Buffer.concat(bodies).toString("latin1");
  expect(sent).toContain("retake.run");
  expect(sent).toContain(body.request_id);
});

test("what keeps a server from starting is said, and it ends", async () => {
  const second = (env: Record<string, string>) => ServerProcess.start(join(folder, "second"), env);
  const port = new URL(server.url).port;
  await expect(second({ PORT: port })).rejects.toThrow(
    /ended with 2: .*error: .*another program listens on port \d+.*--port/s,
  );
  await expect(second({ RETAKE_DATA: join(folder, "data") })).rejects.toThrow(
    /ended with 2: .*error: The queue in .* is open in another process/s,
  );
});

test.each([
  ["PORT", "http", /PORT: takes a whole number from 0 to 65535/],
  ["RETAKE_PROT", "1", /RETAKE_PROT is no setting/],
  ["DEVICE", "gpu", /DEVICE: .*there is no device "gpu"/],
])("with %s=%s nothing starts", async (name, value, reason) => {
  const start = TestServer.start(join(folder, "wrong"), { [name]: value });
  await expect(start).rejects.toThrow(reason);
});

describe("with API keys", () => {
  let guarded: TestServer;
  let alice: string;
  let bob: string;
  beforeAll(async () => {
    const own = join(folder, "guarded");
    const keys = join(folder, "keys.json");
    const add = async (...args: string[]) => {
      const { ended } = startRetake(["keys", "add", ...args, "--file", keys], { cwd: folder });
      return (await ended).stdout.trim();
    };
    alice = await add("alice");
    bob = await add("bob", "--rate", "5");
    expect(readFileSync(keys, "utf8")).not.toContain(alice);
    guarded = await TestServer.start(own, { RETAKE_API_KEYS: keys });
  });
  afterAll(() => guarded.stop());

  const as = (secret: string) => ({ authorization: `Bearer ${secret}` });

  test("nobody comes in without one, and nobody sees another's requests", async () => {
    for (const headers of [{}, as("rtk_wrong"), { authorization: "Basic x" }]) {
      const refused = await guarded.call("GET", "/v1/models", undefined, headers);
      expect([refused.status, refused.body.detail.error.code]).toEqual([401, "UNAUTHORIZED"]);
    }
    expect((await guarded.call("GET", "/health")).status).toBe(200);
    const { body } = await guarded.call("POST", "/v1/inference", demoRequest(), as(alice));
    const path = `/v1/requests/${body.request_id}/status`;
    expect((await guarded.call("GET", path, undefined, as(bob))).status).toBe(404);
    expect((await guarded.call("GET", path, undefined, { "x-api-key": alice })).status).toBe(200);
    const list = await guarded.call("GET", "/v1/requests", undefined, as(bob));
    expect(list.body.requests).toEqual([]);
  });

  test("a key's rate is its own", async () => {
    const answers: number[] = [];
    // A minute may begin in between.
    while (!answers.includes(429) && answers.length < 12)
      answers.push((await guarded.call("GET", "/v1/models", undefined, as(bob))).status);
    expect(answers.at(-1)).toBe(429);
    expect((await guarded.call("GET", "/v1/models", undefined, as(alice))).status).toBe(200);
    expect(guarded.log).not.toContain(alice);
  });
});
