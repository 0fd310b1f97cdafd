import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FastifyInstance } from "fastify";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseSettings } from "../src/config/settings.ts";
import { buildApp } from "../src/http/app.ts";
import { Arrivals } from "../src/http/arrivals.ts";
import { bodyPace } from "../src/http/slow-bodies.ts";
import { UploadFolder } from "../src/lora-files/upload-folder.ts";
import { Metrics } from "../src/node/observe.ts";
import type { Database } from "../src/queue/database.ts";
import { openEmbedded } from "../src/queue/database.ts";
import { JobUploads } from "../src/queue/job-uploads.ts";
import { Queue } from "../src/queue/queue.ts";
import { TokenSeal } from "../src/queue/token-seal.ts";
import { UploadContents } from "../src/queue/upload-contents.ts";
import { Uploads } from "../src/queue/upload-records.ts";
import { ResultFolder } from "../src/storage/results.ts";
import { prepareQueue } from "./prepared.ts";
import type { WirePair } from "./wire-pairs.ts";
import { wireDifferences, wirePairs } from "./wire-pairs.ts";

let folder: string;
let database: Database;
let queue: Queue;
let app: FastifyInstance;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "retake-wire-"));
  for (const name of ["a.safetensors", "sub/b.safetensors"]) {
    mkdirSync(join(folder, "loras", "sub"), { recursive: true });
    writeFileSync(join(folder, "loras", name), "x");
  }
  const settings = parseSettings(
    { WORKFLOWS_BASE_PATH: join(folder, "loras"), BASE_URL: "http://localhost:8000" },
    { demoLoras: "", models: [] },
  );
  await prepareQueue(join(folder, "queue"));
  database = await openEmbedded(join(folder, "queue"));
  queue = await Queue.open(database, { maxQueued: 1000, onError: () => {} });
  const store = await UploadFolder.open(join(folder, "uploads"), 0);
  const contents = new UploadContents(database, store, 1e9);
  app = await buildApp({
    settings,
    links: { baseUrl: "http://localhost:8000", fileOf: (name) => join(folder, "out", name) },
    queue,
    results: await ResultFolder.open(join(folder, "out")),
    uploads: new Uploads(database, contents),
    jobUploads: new JobUploads(database, contents),
    arrivals: new Arrivals(contents),
    seal: new TokenSeal(undefined),
    notReady: async () => [],
    devices: [],
    storagesOf: async () => [],
    keys: undefined,
    pace: bodyPace,
    metrics: new Metrics(queue),
    log: pino({ level: "silent" }),
  });
});
afterAll(async () => {
  await app.close();
  await queue.close();
  await database.close();
  rmSync(folder, { recursive: true });
});

test("there are more than 200 recorded pairs", () => expect(wirePairs.length).toBeGreaterThan(200));

describe("answers are those that the reference's own app gave", () => {
  test.each(wirePairs.map((pair) => [pair.name, pair] as const))("%s", async (_, pair) => {
    const { method, path, headers, body } = pair;
    const payload = "text" in body ? body.text : Buffer.from(body.base64, "base64");
    const answer = await app.inject({
      method,
      url: path,
      headers,
      ...(method === "GET" || method === "HEAD" ? {} : { payload }),
    });
    const difference = wireDifferences.find(({ fits }) => fits(pair));
    expect(answer.body).not.toContain("hf_secretsecret");
    expect(answer.statusCode).toBe(difference?.status ?? pair.status);
    if (difference !== undefined) {
      const { detail } = answer.statusCode === 405 ? { detail: null } : answer.json();
      if (difference.code !== undefined) expect(detail.error.code).toBe(difference.code);
      if (difference.type !== undefined) expect(detail[0].type).toBe(difference.type);
      return;
    }
    for (const name of ["allow", "location"]) {
      const recorded = pair.responseHeaders[name]?.replace("http://testserver", "");
      expect(answer.headers[name]).toBe(recorded);
    }
    if ("text" in pair.response) {
      if (pair.response.text !== "<html>") expect(answer.body).toBe(pair.response.text);
      else expect(answer.headers["content-type"]).toMatch(/^text\/html/);
      return;
    }
    compareBodies(pair, answer.json(), pair.response.json);
  });
});

/** A body as JSON; what is ours to word, and what differs each time, is not compared. */
// biome-ignore lint/suspicious/noExplicitAny: recorded JSON of any shape
function compareBodies(pair: WirePair, ours: any, recorded: any): void {
  if (pair.path === "/v1/models" && pair.status === 200) {
    const known = new Map(recorded.models.map((model: { id: string }) => [model.id, model]));
    expect(ours.models).toHaveLength(3);
    for (const model of ours.models) expect(model).toEqual(known.get(model.id));
    return;
  }
  if (pair.status === 200 && pair.method === "POST") {
    expect(Object.keys(ours)).toEqual(expect.arrayContaining(Object.keys(recorded)));
    expect(ours.status).toBe(recorded.status);
    const { request_id: id } = ours;
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    for (const name of ["status_url", "result_url"]) {
      expect(ours[name]).toBe(recorded[name].replace(recorded.request_id, id));
    }
    expect(ours.created_at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
    return;
  }
  const error = recorded.detail?.error;
  if (error === undefined) {
    expect(ours).toEqual(withoutTokens(recorded));
    return;
  }
  expect(ours.detail.error.code).toBe(error.code);
  expect(Object.keys(ours.detail.error)).toEqual(Object.keys(error));
  if (error.code === "MODEL_NOT_FOUND") {
    const supported = ["zimage", "zimage_turbo", "zimage_deturbo"];
    expect(ours.detail.error.details.supported_models.toSorted()).toEqual(supported.toSorted());
  } else if (error.code === "LORA_NOT_FOUND") {
    // The path as the client gave it: where the folder lies is nobody's business.
    expect(`/loras/${ours.detail.error.details.lora_path}`).toBe(error.details.lora_path);
  } else expect(ours.detail.error.details).toEqual(error.details);
}

/** The reference sends tokens back; ours never does. */
function withoutTokens(recorded: unknown): unknown {
  return JSON.parse(JSON.stringify(recorded).replaceAll(/"hf_token":"[^"]+"/g, '"hf_token":"***"'));
}
