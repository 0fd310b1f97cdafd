import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { demoLoras, demoWeights } from "../src/paths.ts";
import type { Caller } from "./caller.ts";
import { demoRequest } from "./caller.ts";
import { goldenFolder } from "./golden.ts";
import { TestHub } from "./hub-server.ts";
import { PostgresServer } from "./postgres.ts";
import { ServerProcess } from "./server-process.ts";
import { TestServer } from "./test-server.ts";

const turbo = "Tongyi-MAI/Z-Image-Turbo";
const turboFolder = join(goldenFolder, "tiny/store", turbo);
const token = "hf_test0123456789abcdef";

let folder: string;
let hub: TestHub;
let server: TestServer;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "retake-auto-pull-"));
  hub = await TestHub.start({ [turbo]: turboFolder, "ostris/Z-Image-De-Turbo": turboFolder });
  server = await TestServer.start(folder, { ...fetching(), DEVICE: "cpu,cpu" });
});
afterAll(async () => {
  await server.stop();
  await hub.close();
  rmSync(folder, { recursive: true });
});
beforeEach(() => {
  rmSync(join(folder, "hf"), { recursive: true, force: true });
  hub.seen.length = 0;
  hub.faults.length = 0;
  hub.token = undefined;
  hub.bytesPerSecond = 0;
  hub.editList = (list) => list;
});

/** What a server needs that fetches models. */
function fetching() {
  return {
    ...hub.env,
    RETAKE_WEIGHTS: "hub",
    RETAKE_AUTO_PULL: "1",
    HF_HOME: join(folder, "hf"),
    HF_TOKEN: token,
    WORKFLOWS_BASE_PATH: join(goldenFolder, "tiny"),
  };
}

const request = demoRequest({ loras: [{ path: "lora-mixed-ranks.safetensors" }] });

async function submit(model = "zimage_turbo", to: Caller = server): Promise<string> {
  const { body } = await to.call("POST", "/v1/inference", { ...request, model });
  expect(body.request_id, JSON.stringify(body)).toBeDefined();
  return body.request_id;
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((done) => setTimeout(done, 20));
}

/** From now on files take minutes; resolves when the next of them flows. */
async function filesFlowSlowly(): Promise<void> {
  hub.bytesPerSecond = 20_000;
  const before = hub.sentBytes;
  await until(() => hub.sentBytes > before + 100_000);
}

test("requests wait for a model that is not there; it is fetched once for all workers", async () => {
  hub.bytesPerSecond = 2_000_000;
  hub.token = token;
  const ids = await Promise.all([submit(), submit(), submit()]);
  for (const id of ids) expect(await server.ended(id)).toMatchObject({ error: null });
  const files = hub.seen.map(({ url }) => url).filter((url) => url.includes("/resolve/"));
  expect(files).toHaveLength(12);
  expect(new Set(files).size).toBe(12);
  expect(server.log).toMatch(/"fetched the model"/);
  expect(server.log).not.toContain(token);
  // There now: nobody is asked.
  hub.seen.length = 0;
  expect((await server.ended(await submit())).status).toBe("succeeded");
  expect(hub.seen).toEqual([]);
});

test("a model that was left incomplete is completed", async () => {
  expect((await server.ended(await submit())).status).toBe("succeeded");
  const blobs = join(folder, "hf/hub/models--Tongyi-MAI--Z-Image-Turbo/blobs");
  for (const name of readdirSync(blobs)) if (name.length === 64) rmSync(join(blobs, name));
  hub.seen.length = 0;
  expect((await server.ended(await submit())).status).toBe("succeeded");
  expect(hub.seen.filter(({ host }) => host === "storage")).toHaveLength(3);
});

test.each([
  [401, {}, /does not accept the token/],
  [403, { "x-error-code": "GatedRepo" }, /is gated .*the hub\/Tongyi-MAI/],
  [404, { "x-error-code": "RepoNotFound" }, /is not on the hub/],
])(
  "status %i fails the request with its reason, no token, no path",
  async (status, headers, reason) => {
    hub.faults.push({ at: /revision/, times: 1, status, headers });
    const result = await server.ended(await submit());
    expect(result).toMatchObject({ status: "failed", error_code: "MODEL_NOT_AVAILABLE" });
    expect(result.error).toMatch(reason);
    expect(JSON.stringify(result)).not.toMatch(
      /hf_test|retake-auto-pull|127\.0\.0\.1:\d+\/(api|Tongyi)/,
    );
    expect(server.log).not.toContain(token);
  },
);

test("a store that can't be written to fails the request without its path", async () => {
  mkdirSync(join(folder, "hf"));
  writeFileSync(join(folder, "hf/hub"), "a file");
  const result = await server.ended(await submit());
  expect(result).toMatchObject({ status: "failed", error_code: "MODEL_NOT_AVAILABLE" });
  expect(result.error).toMatch(/the model store can't be written to/);
  expect(JSON.stringify(result)).not.toContain("retake-auto-pull");
});

test("a repository that lacks a file fails the request with that, and is not fetched for ever", async () => {
  hub.editList = (list) => list.filter(({ rfilename }) => rfilename !== "vae/config.json");
  const result = await server.ended(await submit());
  expect(result).toMatchObject({ status: "failed", error_code: "MODEL_NOT_AVAILABLE" });
  expect(result.error).toMatch(/could not be fetched: the model store\/.*vae\/config\.json/);
  expect(hub.seen.filter(({ url }) => url.includes(`${turbo}/revision/`))).toHaveLength(1);
});

test("while a model is fetched its requests wait in the queue, and other models' run", async () => {
  expect((await server.ended(await submit())).status).toBe("succeeded");
  const flowing = filesFlowSlowly();
  const waiting = [await submit("zimage_deturbo"), await submit("zimage_deturbo")];
  await flowing;
  expect((await server.ended(await submit())).status).toBe("succeeded");
  for (const id of waiting) {
    const { body } = await server.call("GET", `/v1/requests/${id}/status`);
    // Its time limit begins with its run.
    expect(body).toMatchObject({ status: "in_queue", started_at: null });
  }
  hub.bytesPerSecond = 0;
  for (const id of waiting) expect(await server.ended(id)).toMatchObject({ error: null });
});

test("a cancel ends the wait, the last one the fetch; the next request goes on with what came", async () => {
  const flowing = filesFlowSlowly();
  const ids = [await submit(), await submit()];
  await flowing;
  const logged = server.log.length;
  for (const id of ids) {
    const { body } = await server.call("POST", `/v1/requests/${id}/cancel`);
    expect(body.status).toBe("canceled");
  }
  await until(() => server.log.slice(logged).includes("the fetch of the model was stopped"));
  hub.bytesPerSecond = 0;
  expect((await server.ended(await submit())).status).toBe("succeeded");
  expect(hub.seen.some(({ range }) => range !== undefined)).toBe(true);
});

test("a stop in the middle of a fetch keeps the request and what came", async () => {
  const place = join(folder, "stopped");
  let own = await ServerProcess.start(place, fetching());
  try {
    const flowing = filesFlowSlowly();
    const id = await submit(undefined, own);
    await flowing;
    expect(await own.stop()).toBe(0);
    hub.bytesPerSecond = 0;
    hub.seen.length = 0;
    own = await ServerProcess.start(place, fetching());
    expect((await own.ended(id)).status).toBe("succeeded");
    expect(hub.seen.some(({ range }) => range !== undefined)).toBe(true);
  } finally {
    await own.stop();
  }
});

test("nodes that share a store fetch a model once", async () => {
  const postgres = await PostgresServer.start();
  const env = { ...fetching(), DATABASE_URL: postgres.url };
  const place = join(folder, "nodes");
  const nodes = await Promise.all([
    ServerProcess.start(place, env),
    ServerProcess.start(place, { ...env, command: "worker" }),
  ]);
  try {
    const flowing = filesFlowSlowly();
    const ids = [await submit(undefined, nodes[0]), await submit(undefined, nodes[0])];
    await flowing;
    await until(() => nodes.some(({ log }) => log.includes("another process fetches the model")));
    hub.bytesPerSecond = 0;
    for (const id of ids) expect(await nodes[0].ended(id)).toMatchObject({ error: null });
    const files = hub.seen.map(({ url }) => url).filter((url) => url.includes("/resolve/"));
    expect(files).toHaveLength(new Set(files).size);
  } finally {
    await Promise.all(nodes.map((node) => node.stop()));
    await postgres.stop();
  }
});

test("without the setting nothing is fetched, and the message says how to, without a path", async () => {
  const other = await TestServer.start(join(folder, "other"), {
    ...hub.env,
    RETAKE_WEIGHTS: "hub",
    HF_HOME: join(folder, "hf"),
    WORKFLOWS_BASE_PATH: join(goldenFolder, "tiny"),
  });
  try {
    const { body } = await other.call("POST", "/v1/inference", request);
    const result = await other.ended(body.request_id);
    expect(result.status).toBe("failed");
    expect(result.error).toMatch(/retake pull zimage_turbo/);
    expect(JSON.stringify(result)).not.toContain("retake-auto-pull");
    expect(hub.seen).toEqual([]);
    expect(existsSync(join(folder, "hf"))).toBe(false);
  } finally {
    await other.stop();
  }
});

test("a training adapter comes along with its model, and one that can't be had keeps nobody waiting", async () => {
  const adapter = "ostris/zimage_turbo_training_adapter";
  const rounded = { ...demoRequest({ as_trained: true }), model: "zimage_turbo" };
  const stores: Record<string, string>[] = [{ [adapter]: join(demoWeights, adapter) }, {}];
  for (const [i, store] of stores.entries()) {
    const own = await TestHub.start({ [turbo]: join(demoWeights, turbo), ...store });
    const place = join(folder, `adapter-${i}`);
    const other = await TestServer.start(place, {
      ...fetching(),
      ...own.env,
      HF_HOME: join(place, "hf"),
      WORKFLOWS_BASE_PATH: demoLoras,
    });
    try {
      const { body } = await other.call("POST", "/v1/inference", rounded);
      const result = await other.ended(body.request_id);
      if (i === 0) expect(result).toMatchObject({ status: "succeeded", error: null });
      else expect(result.error).toContain(`the training adapter ${adapter}`);
      const plain = await other.call("POST", "/v1/inference", { ...rounded, as_trained: false });
      expect((await other.ended(plain.body.request_id)).status).toBe("succeeded");
    } finally {
      await other.stop();
      await own.close();
    }
  }
}, 120_000);
