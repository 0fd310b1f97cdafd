import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { TokenSeal } from "../src/queue/token-seal.ts";
import type { Caller } from "./caller.ts";
import { demoRequest } from "./caller.ts";
import { HubSite } from "./hub-site.ts";
import { ServerProcess } from "./server-process.ts";
import { TestServer } from "./test-server.ts";

// No shape that a mask knows: what must not be seen has to be absent, not masked.
const token = "Qm9hdHMvYW5kL3BsYW5lcw-requests-own";
const otherToken = "wrong-ZGlmZmVyZW50-token";
const serverToken = "TmV2ZXIgc2VudCBiYWNr-servers-own";
const secret = "a secret that all of the nodes have";

let hub: HubSite;
beforeAll(async () => {
  hub = await HubSite.start([token, serverToken]);
});
afterAll(() => hub.stop());

let folder: string;
let seen: string;
const running: (ServerProcess | TestServer)[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-tokens-"));
  seen = "";
  hub.authorizations.length = 0;
});
afterEach(async () => {
  for (const server of running.splice(0)) await server.stop();
  rmSync(folder, { recursive: true });
});

const all = (env: Record<string, string>) => ({
  ...hub.environment,
  RETAKE_LOG_LEVEL: "trace",
  ...env,
});

async function start(env: Record<string, string> = {}): Promise<TestServer> {
  const server = await TestServer.start(folder, all(env));
  running.push(server);
  return server;
}

/** One that can be killed. */
async function startProcess(env: Record<string, string>): Promise<ServerProcess> {
  const server = await ServerProcess.start(folder, all(env));
  running.push(server);
  return server;
}

const gated = (fields: object = {}) =>
  demoRequest({ loras: [{ path: "hf:o/gated/gated.safetensors" }], ...fields });

/** Submits, and notes everything that was answered. */
async function submit(server: Caller, body: object): Promise<string> {
  const { body: job } = await server.call("POST", "/v1/inference", body);
  seen += JSON.stringify(job);
  return job.request_id;
}

async function ended(server: Caller, id: string) {
  const result = await server.ended(id);
  const events = await server.call("GET", `/v1/requests/${id}/events`);
  const list = await server.call("GET", "/v1/requests");
  const metrics = await server.call("GET", "/metrics");
  seen += JSON.stringify(result) + events.body + JSON.stringify(list.body) + metrics.body;
  return result;
}

/** Neither in an answer, nor in a log, nor in a file of the database, the cache or the results; nor easily decoded. */
function expectNowhere(...tokens: readonly string[]): void {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));
  expect(files.length).toBeGreaterThan(100);
  const contents = files.map((file) => [file, readFileSync(file)] as const);
  for (const hidden of tokens) {
    const forms = [
      Buffer.from(hidden),
      Buffer.from(hidden, "utf16le"),
      Buffer.from(Buffer.from(hidden).toString("base64").slice(0, 24)),
      Buffer.from(Buffer.from(hidden).toString("hex")),
    ];
    for (const form of forms) {
      const found = contents.filter(
        ([file, bytes]) => file.includes(hidden) || bytes.includes(form),
      );
      expect(found.map(([file]) => file)).toEqual([]);
    }
    expect(seen).not.toContain(hidden);
    for (const server of running) expect(server.log).not.toContain(hidden);
  }
}

test("a request's token opens its LoRA, and is nowhere afterwards", async () => {
  const server = await start();
  const id = await submit(server, gated({ hf_token: token }));
  expect((await ended(server, id)).status).toBe("succeeded");
  expect(hub.authorizations).toContain(`Bearer ${token}`);
  // Its file is not another's: neither without a token nor with a wrong one.
  for (const hf_token of [null, "", otherToken]) {
    const result = await ended(server, await submit(server, gated({ hf_token })));
    expect(result).toMatchObject({ status: "failed", error_code: "LORA_NOT_USABLE" });
    expect(result.error).toMatch(/needs a login .* hf_token/);
  }
  await server.stop();
  expectNowhere(token, otherToken);
});

test("an empty token falls back to the server's; a request's own goes before it", async () => {
  const server = await start({ HF_TOKEN: serverToken });
  for (const hf_token of [null, "", undefined]) {
    hub.authorizations.length = 0;
    rmSync(join(folder, "loras"), { recursive: true, force: true });
    const id = await submit(server, gated({ hf_token }));
    expect((await ended(server, id)).status).toBe("succeeded");
    expect(hub.authorizations).toContain(`Bearer ${serverToken}`);
  }
  hub.authorizations.length = 0;
  const failed = await ended(server, await submit(server, gated({ hf_token: otherToken })));
  expect(failed.status).toBe("failed");
  expect(hub.authorizations).not.toContain(`Bearer ${serverToken}`);
  const path = "/v1/loras/inspect?path=hf:o/gated/gated.safetensors";
  expect((await server.call("GET", path)).status).toBe(200);
  await server.stop();
  expectNowhere(serverToken, otherToken);
});

test("while a request waits nobody reads its token; lost with its server, the request says so", async () => {
  const first = await startProcess({ DEVICE: "none", HF_TOKEN: serverToken });
  const id = await submit(first, gated({ hf_token: token }));
  const canceled = await submit(first, gated({ hf_token: token }));
  const open = { path: "hf:o/open/open.safetensors" };
  const other = await submit(first, demoRequest({ loras: [open] }));
  await first.call("POST", `/v1/requests/${canceled}/cancel`);
  await first.kill();
  expectNowhere(token);
  const second = await start({ HF_TOKEN: serverToken });
  const result = await ended(second, id);
  expect(result).toMatchObject({ status: "failed", error_code: "HF_TOKEN_LOST", outputs: null });
  expect(result.error).toMatch(/Send the request again.*RETAKE_SECRET/);
  // Not with another token in its place, and not without its LoRA.
  expect(hub.authorizations).not.toContain(`Bearer ${serverToken}`);
  expect((await ended(second, other)).status).toBe("succeeded");
  await second.stop();
  expectNowhere(token);
});

test("with RETAKE_SECRET it outlives its server", async () => {
  const first = await startProcess({ DEVICE: "none", RETAKE_SECRET: secret });
  const id = await submit(first, gated({ hf_token: token }));
  await first.kill();
  expectNowhere(token, secret);
  const second = await start({ RETAKE_SECRET: secret });
  expect((await ended(second, id)).status).toBe("succeeded");
  await second.stop();
  expectNowhere(token, secret);
});

test("a seal opens with its secret, for its request, unchanged", () => {
  const seal = new TokenSeal(secret);
  const sealed = seal.seal(token, "a");
  expect(new TokenSeal(secret).open(sealed, "a")).toBe(token);
  expect(seal.seal(token, "a")).not.toBe(sealed);
  expect(seal.open(sealed, "b")).toBeUndefined();
  expect(new TokenSeal(`${secret}.`).open(sealed, "a")).toBeUndefined();
  expect(new TokenSeal(undefined).open(sealed, "a")).toBeUndefined();
  const bytes = Buffer.from(sealed, "base64url");
  for (const at of bytes.keys()) {
    const changed = Buffer.from(bytes);
    changed[at]! ^= 1;
    expect(seal.open(changed.toString("base64url"), "a")).toBeUndefined();
  }
  for (const short of ["", "AA", sealed.slice(0, 30)])
    expect(seal.open(short, "a")).toBeUndefined();
});
