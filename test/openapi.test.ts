import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { addApiKey } from "../src/http/api-keys.ts";
import type { Answer } from "./caller.ts";
import { demoRequest } from "./caller.ts";
import type { JobFile } from "./job-folders.ts";
import { filesOfJob, jobFolders, manifestOf, putFile } from "./job-folders.ts";
import { lora } from "./lora-site.ts";
import { loraId, octets } from "./lora-upload.ts";
import { blankPng, textChunk, withChunks } from "./picture-texts.ts";
import { TestServer } from "./test-server.ts";

// Every route's answers are held to /openapi.json, in both directions: nothing is missing that it
// names, and nothing is there that it doesn't name.

let folder: string;
let server: TestServer;
// biome-ignore lint/suspicious/noExplicitAny: a document of any shape
let document: any;
const seen = new Set<string>();

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "retake-openapi-"));
  const loras = join(folder, "own-loras");
  mkdirSync(loras);
  writeFileSync(join(loras, "zorple.safetensors"), lora);
  cpSync(join(jobFolders, "e2-lokr"), join(loras, "e2-lokr"), { recursive: true });
  server = await TestServer.start(folder, {
    ...{ RETAKE_MAX_BODY: "5000", RETAKE_MAX_LORA: "2000000", WORKFLOWS_BASE_PATH: loras },
  });
  document = (await server.call("GET", "/openapi.json")).body;
}, 60_000);
afterAll(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

/** The schema with every object closed, so that a member that nobody documented is an error. */
function closed(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(closed);
  if (typeof schema !== "object" || schema === null) return schema;
  const inner = Object.entries(schema).map(([name, part]) => [name, closed(part)]);
  const isObject = "properties" in schema && !("additionalProperties" in schema);
  return { ...Object.fromEntries(inner), ...(isObject ? { additionalProperties: false } : {}) };
}

function expectFits(body: unknown, schema: unknown): void {
  const { error } = z.fromJSONSchema(Object(closed(schema))).safeParse(body);
  expect(error?.issues ?? []).toEqual([]);
}

function hold(
  method: string,
  route: string,
  answer: Pick<Answer, "status" | "body">,
): Answer["body"] {
  const name = `${method} ${route} ${answer.status}`;
  const described = document.paths[route]?.[method.toLowerCase()]?.responses[answer.status];
  expect(described, name).toBeDefined();
  seen.add(name);
  const schema = described.content?.["application/json"]?.schema;
  const isJson = typeof answer.body !== "string";
  if (schema !== undefined && isJson) expectFits(answer.body, schema);
  return answer.body;
}

async function ask(
  method: string,
  route: string,
  path = route,
  ...rest: [unknown?, Record<string, string>?]
) {
  return hold(method, route, await server.call(method, path, ...rest));
}

const submit = (body: unknown, headers?: Record<string, string>) =>
  ask("POST", "/v1/inference", undefined, body, headers);

/** A request's events: their types, each with its data held to its own schema. */
async function expectEvents(path: string): Promise<string[]> {
  const answer = await server.call("GET", path);
  const route = "/v1/requests/{id}/events";
  hold("GET", route, answer);
  const { content } = document.paths[route].get.responses["200"];
  const kinds: { properties: Record<string, Record<string, unknown>> }[] =
    content["text/event-stream"].schema.oneOf;
  const messages = String(answer.body).matchAll(/^id: (\d+)\nevent: (\w+)\ndata: (.*)$/gm);
  return [...messages].map(([, , type = "", data = ""]) => {
    const kind = kinds.find(({ properties }) => properties.event?.const === type);
    expectFits(JSON.parse(data), kind?.properties.data?.contentSchema);
    return type;
  });
}

test("health, readiness, metrics, models", async () => {
  for (const route of ["/health", "/ready", "/metrics", "/v1/models"]) await ask("GET", route);
});

test("a request that succeeds, with previews", async () => {
  const job = await submit(
    demoRequest({
      preview_every: 1,
      output_format: "png",
      prompts: [
        { prompt: "a red circle", width: 64, height: 64, sample_steps: 3, seed: 7 },
        { prompt: "a blue square", width: 64, height: 64, sample_steps: 3, seed: -1 },
      ],
    }),
  );
  const path = `/v1/requests/${job.request_id}`;
  const types = await expectEvents(`${path}/events`);
  expect(new Set(types)).toEqual(new Set(["state", "progress", "preview", "image"]));
  const result = await ask("GET", "/v1/requests/{id}/result", `${path}/result`);
  expect(result.status).toBe("succeeded");
  // All that the documentation offers is there for a picture of this version.
  const [image] = result.outputs.images;
  const [outputs] =
    document.paths["/v1/requests/{id}/result"].get.responses["200"].content["application/json"]
      .schema.properties.outputs.anyOf;
  const { effective } = outputs.properties.images.items.properties;
  expect(Object.keys(image.effective).sort()).toEqual(Object.keys(effective.properties).sort());
  const status = await ask("GET", "/v1/requests/{id}/status", `${path}/status`);
  expect(status.progress.step).toBe(status.progress.total);
  await ask("GET", "/v1/requests/{id}/files/{name}", new URL(image.url).pathname);
  await ask("GET", "/v1/requests/{id}/files/{name}", `${path}/files/none.jpg`);
  await ask("GET", "/v1/requests", "/v1/requests?limit=1");
  await ask("GET", "/v1/requests", "/v1/requests?limit=0&status=none");
  await ask("DELETE", "/v1/requests/{id}", path);
}, 120_000);

test("requests that fail or are canceled, and what can't be done with them", async () => {
  const failing = await submit(demoRequest({}, { resolution: "High" }));
  expect((await server.ended(failing.request_id)).status).toBe("failed");
  await ask("GET", "/v1/requests/{id}/result", `/v1/requests/${failing.request_id}/result`);
  await ask("GET", "/v1/requests/{id}/status", `/v1/requests/${failing.request_id}/status`);

  const long = await submit(demoRequest({}, { sample_steps: 150, width: 512, height: 512 }));
  const path = `/v1/requests/${long.request_id}`;
  await ask("DELETE", "/v1/requests/{id}", path);
  await ask("POST", "/v1/requests/{id}/cancel", `${path}/cancel`);
  await server.ended(long.request_id);
  await ask("GET", "/v1/requests/{id}/result", `${path}/result`);
  expect((await expectEvents(`${path}/events`)).at(-1)).toBe("state");
  const header = { "last-event-id": "none" };
  await ask("GET", "/v1/requests/{id}/events", `${path}/events`, undefined, header);
  for (const [method, end] of [
    ["GET", "/status"],
    ["GET", "/result"],
    ["GET", "/events"],
    ["POST", "/cancel"],
    ["DELETE", ""],
  ] as const)
    await ask(method, `/v1/requests/{id}${end}`, `/v1/requests/none${end}`);
}, 120_000);

test("requests that are refused", async () => {
  await submit({ ...demoRequest(), model: "none" });
  await submit(demoRequest({ loras: [] }));
  await submit("\ud800");
  await submit(demoRequest({}, { width: Number.NaN, seed: "x", sampler: 1 }));
  await submit(Buffer.from("{"), { "content-type": "application/json" });
  await submit(Buffer.from([0xff, 0xfe, 0xff]), { "content-type": "application/json" });
  await submit(demoRequest({}, { prompt: "x".repeat(6000) }));
  const key = { "idempotency-key": "one" };
  await submit(demoRequest(), key);
  await submit(demoRequest({}, { seed: 1 }), key);
  await submit(demoRequest(), { host: "evil.example" });
  await submit(demoRequest(), { origin: "https://evil.example" });
});

test("explanations", async () => {
  const explain = (body: unknown, query = "", headers?: Record<string, string>) =>
    ask("POST", "/v1/explain", `/v1/explain${query}`, body, headers);
  const picture = withChunks(await blankPng(), textChunk("parameters", infotext));
  await explain(demoRequest());
  await explain(picture, "?model=zimage", { "content-type": "image/png" });
  await explain(picture, "?model=none", { "content-type": "image/png" });
  await explain(await blankPng(), "", { "content-type": "image/png" });
  await explain(demoRequest({}, { width: "wide" }));
  await explain(demoRequest({}, { prompt: "x".repeat(6000) }));
});

const infotext = "a cat\nSteps: 2, Sampler: Euler, CFG scale: 4, Seed: 7, Size: 64x64, RNG: CPU";

test("uploaded LoRAs", async () => {
  const path = `/v1/loras/${loraId}`;
  const upload = (body: Buffer, headers = octets) =>
    ask("POST", "/v1/loras", "/v1/loras?name=zorple", body, headers);
  await upload(lora);
  await upload(lora);
  await upload(Buffer.from("<html> no LoRA"));
  await upload(lora, { "content-type": "text/plain" });
  await upload(Buffer.alloc(2_000_001));
  await ask("GET", "/v1/loras", "/v1/loras?limit=1");
  await ask("GET", "/v1/loras", "/v1/loras?limit=x");
  await ask("GET", "/v1/loras/{id}", path);
  await ask("GET", "/v1/loras/inspect", `/v1/loras/inspect?path=upload:${loraId}`);
  await ask("GET", "/v1/loras/inspect", "/v1/loras/inspect?path=none.safetensors");
  await ask("GET", "/v1/loras/inspect");
  const long = { sample_steps: 150, width: 512, height: 512 };
  const job = await submit(demoRequest({ loras: [{ path: `upload:${loraId}` }] }, long));
  await ask("DELETE", "/v1/loras/{id}", path);
  await ask("POST", "/v1/requests/{id}/cancel", `/v1/requests/${job.request_id}/cancel`);
  await server.ended(job.request_id);
  await ask("DELETE", "/v1/loras/{id}", path);
  await ask("DELETE", "/v1/loras/{id}", path);
  await ask("GET", "/v1/loras/{id}", path);
}, 120_000);

const manyFiles = { name: "x", files: Array(500).fill({ path: "a.safetensors", bytes: 1 }) };
const noText = Buffer.from([0xff, 0xfe, 0xff]);
const asJson = { "content-type": "application/json" };

test("a training's previews, taken again", async () => {
  const request = (body: unknown, headers?: Record<string, string>) =>
    ask("POST", "/v1/previews", undefined, body, headers);
  await ask("GET", "/v1/previews/jobs");
  await ask("GET", "/v1/previews/jobs", "/v1/previews/jobs?limit=x");
  const job = await request({ folder: "e2-lokr", steps: [4] });
  const path = `/v1/requests/${job.request_id}`;
  const types = await expectEvents(`${path}/events`);
  expect(new Set(types)).toEqual(new Set(["state", "progress", "retake"]));
  await server.ended(job.request_id);
  const { outputs } = await ask("GET", "/v1/requests/{id}/result", `${path}/result`);
  const { samples, html_url, json_url } = outputs.report;
  for (const url of [html_url, json_url, samples[0].picture_url, samples[0].preview_url])
    await ask("GET", "/v1/requests/{id}/files/{name}", new URL(url).pathname);
  await ask("GET", "/v1/requests", "/v1/requests?kind=retake");
  await request({ folder: "none" });
  await request({ upload: "none" });
  await request({});
  await request({ folder: "x".repeat(6000) });
}, 120_000);

test("uploaded job folders", async () => {
  const uploads = "/v1/previews/uploads";
  const files = filesOfJob("e2-lokr");
  const begin = (body: unknown, headers?: Record<string, string>) =>
    ask("POST", uploads, undefined, body, headers);
  const { id } = await begin(manifestOf(files));
  const route = `${uploads}/{id}`;
  const put = async (file: JobFile, headers?: Record<string, string>) =>
    hold("PUT", `${route}/files/{path}`, await putFile(server, id, file, headers));
  const [first] = files;
  await put({ ...first!, content: Buffer.from("x") });
  await put({ path: "none.safetensors", content: Buffer.from("x") });
  await put(first!, { "content-encoding": "gzip" });
  for (const file of files.slice(1)) await put(file);
  await ask("POST", "/v1/previews", undefined, { upload: id });
  await put(first!);
  await ask("GET", route, `${uploads}/${id}`);
  await ask("GET", uploads, `${uploads}?limit=1`);
  await ask("GET", uploads, `${uploads}?after=x`);
  const { request_id } = await ask("POST", "/v1/previews", undefined, { upload: id });
  await ask("DELETE", route, `${uploads}/${id}`);
  await server.call("POST", `/v1/requests/${request_id}/cancel`);
  await server.ended(request_id);
  for (const method of ["DELETE", "DELETE", "GET"]) await ask(method, route, `${uploads}/${id}`);
  await begin(manyFiles);
  await begin({ name: "x", files: [] });
  await begin(noText, asJson);
  const open = manifestOf(files).files.map(({ sha256: _, ...file }) => file);
  const other = await begin({ name: "x", files: open });
  const preview = files.find(({ path }) => path.startsWith("samples/"))!;
  const changed = { ...preview, content: Buffer.alloc(preview.content.length) };
  for (const file of [preview, changed])
    hold("PUT", `${route}/files/{path}`, await putFile(server, other.id, file));
}, 120_000);

test("headers that are too large", async () => {
  const { hostname, port } = new URL(server.url);
  const socket = connect(Number(port), hostname);
  socket.write(`GET /health HTTP/1.1\r\nHost: localhost\r\nX: ${"x".repeat(20_000)}\r\n\r\n`);
  const [head = "", body = ""] = (await text(socket)).split("\r\n\r\n");
  hold("GET", "/health", { status: Number(head.split(" ")[1]), body: JSON.parse(body) });
  expect(seen).toContain("GET /health 431");
});

test("with keys: without one, and too often", async () => {
  const own = join(folder, "with-keys");
  const file = join(folder, "keys.json");
  const key = await addApiKey(file, "alice", 1);
  const guarded = await TestServer.start(own, { RETAKE_API_KEYS: file, DEVICE: "none" });
  try {
    const call = (headers: Record<string, string>) =>
      guarded.call("GET", "/v1/models", undefined, headers);
    hold("GET", "/v1/models", await call({}));
    hold("GET", "/v1/models", await call({ authorization: `Bearer ${key}` }));
    hold("GET", "/v1/models", await call({ authorization: `Bearer ${key}` }));
  } finally {
    await guarded.stop();
  }
});

test("nothing is documented that this file doesn't bring about, but for these", () => {
  // Any route may answer so; one shows it.
  const anywhere = ["401", "403", "421", "429", "431"];
  const shown = new Set([...seen].map((name) => name.split(" ").at(-1)));
  for (const status of anywhere) expect(shown).toContain(status);
  const documented = Object.entries<Record<string, { responses: object }>>(document.paths).flatMap(
    ([route, methods]) =>
      Object.entries(methods).flatMap(([method, { responses }]) =>
        Object.keys(responses)
          .filter((status) => !anywhere.includes(status))
          .map((status) => `${method.toUpperCase()} ${route} ${status}`),
      ),
  );
  expect(documented.filter((name) => !seen.has(name))).toEqual([
    // What keeps a server from serving, a slow body, more descriptions than turns, a full disk, a
    // link that gives nothing: other tests show these.
    "GET /ready 503",
    "POST /v1/inference 503",
    "POST /v1/explain 503",
    "POST /v1/loras 408",
    "POST /v1/loras 503",
    "POST /v1/loras 507",
    "GET /v1/loras/inspect 502",
    "GET /v1/loras/inspect 503",
    // And as many folders or bytes as may be.
    "POST /v1/previews 503",
    "GET /v1/previews/jobs 503",
    "POST /v1/previews/uploads 409",
    "POST /v1/previews/uploads 507",
    "PUT /v1/previews/uploads/{id}/files/{path} 408",
    "PUT /v1/previews/uploads/{id}/files/{path} 503",
    "PUT /v1/previews/uploads/{id}/files/{path} 507",
  ]);
});
