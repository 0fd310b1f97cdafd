import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { demoRequest } from "./caller.ts";
import { goldenFolder } from "./golden.ts";
import { TestHub } from "./hub-server.ts";
import { TestServer } from "./test-server.ts";

const turbo = "Tongyi-MAI/Z-Image-Turbo";
const token = "hf_test0123456789abcdef";

let folder: string;
let hub: TestHub;
let server: TestServer;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "retake-auto-pull-"));
  hub = await TestHub.start({ [turbo]: join(goldenFolder, "tiny/store", turbo) });
  server = await TestServer.start(folder, {
    ...hub.env,
    RETAKE_WEIGHTS: "hub",
    RETAKE_AUTO_PULL: "1",
    HF_HOME: join(folder, "hf"),
    HF_TOKEN: token,
    DEVICE: "cpu,cpu",
    WORKFLOWS_BASE_PATH: join(goldenFolder, "tiny"),
  });
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
});

const request = demoRequest({ loras: [{ path: "lora-mixed-ranks.safetensors" }] });

async function submit(): Promise<string> {
  const { body } = await server.call("POST", "/v1/inference", request);
  expect(body.request_id, JSON.stringify(body)).toBeDefined();
  return body.request_id;
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

test("a cancel ends the wait; the next request goes on with what came", async () => {
  hub.bytesPerSecond = 200_000;
  const id = await submit();
  const before = hub.sentBytes;
  while (hub.sentBytes - before < 300_000) await new Promise((done) => setTimeout(done, 20));
  await server.call("POST", `/v1/requests/${id}/cancel`);
  expect((await server.ended(id)).status).toBe("canceled");
  hub.bytesPerSecond = 0;
  expect((await server.ended(await submit())).status).toBe("succeeded");
  expect(hub.seen.some(({ range }) => range !== undefined)).toBe(true);
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
