import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { demoRequest } from "./caller.ts";
import { RawClient, sendRaw } from "./raw-client.ts";
import { TestServer } from "./test-server.ts";

const secret = "hf_VerySecretToken1234567890";
const json = { "content-type": "application/json" };

let folder: string;
let server: TestServer;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "retake-attacks-"));
  mkdirSync(join(folder, "safe"));
  writeFileSync(join(folder, "outside.safetensors"), "x");
  symlinkSync(join(folder, "outside.safetensors"), join(folder, "safe", "link.safetensors"));
  symlinkSync("/etc", join(folder, "safe", "etc"));
  server = await TestServer.start(
    folder,
    {
      WORKFLOWS_BASE_PATH: join(folder, "safe"),
      RETAKE_ALLOW_HTTP: "true",
      RETAKE_WEBHOOK_SECRET: "a secret of 20 chars",
      RETAKE_MAX_LORA: "1000000",
    },
    { wholeMilliseconds: 3000 },
  );
}, 30_000);
afterAll(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

const send = (...parts: readonly string[]) => sendRaw(server.url, ...parts);

async function alive(): Promise<void> {
  expect((await server.call("GET", "/health")).status).toBe(200);
}

describe("paths that leave the LoRA folder", () => {
  test.each([
    "../outside.safetensors",
    "..%2foutside.safetensors",
    "%2e%2e/outside.safetensors",
    "..\\outside.safetensors",
    "sub/../../outside.safetensors",
    "/etc/passwd",
    "//etc/passwd",
    "etc/passwd",
    "link.safetensors",
    "file:///etc/passwd",
    "\0/etc/passwd",
    "safe\0.safetensors",
    "~/outside.safetensors",
    ".",
    "",
  ])("%j", async (path) => {
    const answer = await server.call("POST", "/v1/inference", demoRequest({ loras: [{ path }] }));
    expect([answer.status, answer.body.detail.error.code]).toEqual([400, "LORA_NOT_FOUND"]);
    expect(answer.body.detail.error.details).toEqual({ lora_path: path });
    expect(JSON.stringify(answer.body)).not.toContain(folder);
  });

  test.each([
    "/v1/requests/..%2f..%2f/files/x",
    "/v1/requests/00000000-0000-4000-8000-000000000000/files/..%2f..%2fetc%2fpasswd",
    "/docs/static/..%2f..%2f..%2fpackage.json",
    "/docs/static/../../../../etc/passwd",
  ])("%s", async (path) => {
    const { status } = await server.call("GET", path);
    expect(status).toBe(404);
  });
});

describe("URLs that lead inside", () => {
  const urls = (port: number) => [
    `http://127.0.0.1:${port}/x.safetensors`,
    `http://[::1]:${port}/x.safetensors`,
    `http://0.0.0.0:${port}/x.safetensors`,
    `http://2130706433:${port}/x.safetensors`,
    `http://localhost:${port}/x.safetensors`,
    `http://user:${secret}@127.0.0.1:${port}/x.safetensors?token=${secret}`,
    "http://169.254.169.254/latest/meta-data/iam.safetensors",
    "http://[fd00::1]/x.safetensors",
  ];

  test("are refused by name, reach nothing, and leave no secret", async () => {
    let reached = 0;
    const inside = createServer((_, response) => {
      reached++;
      response.end("inside");
    });
    await new Promise<void>((done) => inside.listen(0, done));
    const { port } = inside.address() as AddressInfo; // a TCP server's address
    for (const path of urls(port)) {
      const body = demoRequest({ loras: [{ path }], hf_token: secret });
      const { body: job } = await server.call("POST", "/v1/inference", body);
      const result = await server.ended(job.request_id);
      expect(result).toMatchObject({ status: "failed", error_code: "LORA_NOT_USABLE" });
      expect(result.error).toMatch(/ is refused: /);
      expect(JSON.stringify(result)).not.toContain(secret);
    }
    inside.close();
    expect(reached).toBe(0);
    expect(server.log).not.toContain(secret);
    // Named in the log, so that an operator sees who knocks.
    expect(server.log).toMatch(/LORA_NOT_USABLE.*not on the public internet/);
  });

  test("webhooks too", async () => {
    const webhook_url = "http://169.254.169.254/hook";
    const { body: job } = await server.call("POST", "/v1/inference", demoRequest({ webhook_url }));
    // The LoRA isn't in this folder; a webhook of a refused request is never sent.
    expect(job.detail.error.code).toBe("LORA_NOT_FOUND");
    const ftp = await server.call(
      "POST",
      "/v1/inference",
      demoRequest({
        webhook_url: "ftp://x/",
        loras: [{ path: "https://h.example/x.safetensors" }],
      }),
    );
    expect([ftp.status, ftp.body.detail.error.code]).toEqual([400, "INVALID_PARAMETER"]);
  });
});

describe("bodies", () => {
  test("too large", async () => {
    const answer = await server.call(
      "POST",
      "/v1/inference",
      demoRequest({}, { prompt: "x".repeat(2e6) }),
    );
    expect(answer.status).toBe(413);
  });

  test("nested deeply", async () => {
    const deep = "[".repeat(100_000) + "]".repeat(100_000);
    const { status, body } = await server.call("POST", "/v1/inference", Buffer.from(deep), json);
    expect(status).toBe(422);
    expect(JSON.stringify(body)).toMatch(/Nested deeper than 64 levels/);
  });

  test("a prototype", async () => {
    const body = JSON.stringify(demoRequest()).replace(
      "{",
      '{"__proto__":{"polluted":true},"constructor":1,',
    );
    const { status } = await server.call("POST", "/v1/inference", Buffer.from(body), json);
    expect(status).toBe(400);
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });

  test("too many prompts, too long, too much work", async () => {
    const many = await server.call(
      "POST",
      "/v1/inference",
      demoRequest({ prompts: Array(65).fill({ prompt: "x" }) }),
    );
    expect([many.status, many.body.detail[0].type]).toEqual([422, "too_long"]);
    const long = await server.call(
      "POST",
      "/v1/inference",
      demoRequest({}, { prompt: "x".repeat(30_000) }),
    );
    expect([long.status, long.body.detail[0].type]).toEqual([422, "string_too_long"]);
    expect(JSON.stringify(long.body).length).toBeLessThan(1000);
  });

  test("compressed ones are not unpacked", async () => {
    const headers = { ...json, "content-encoding": "gzip" };
    const packed = gzipSync(Buffer.alloc(50_000_000));
    const { status } = await server.call("POST", "/v1/inference", packed, headers);
    expect([400, 413, 415, 422]).toContain(status);
    await alive();
  });
});

describe("HTTP games", () => {
  test.each<[string, string[]]>([
    [
      "two lengths",
      [
        "POST /v1/inference HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
      ],
    ],
    [
      "length and chunks",
      [
        "POST /v1/inference HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      ],
    ],
    [
      "a bare line feed in a header",
      ["GET /health HTTP/1.1\r\nHost: localhost\r\nA: b\nc\r\n\r\n"],
    ],
    [
      "headers without end",
      ["GET /health HTTP/1.1\r\n", ...Array(40).fill(`X-A: ${"a".repeat(1000)}\r\n`)],
    ],
    ["no HTTP at all", ["\x16\x03\x01\x02\x00\x01\x00"]],
    [
      "an endless chunk",
      [
        "POST /v1/inference HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
      ],
    ],
  ])("%s", async (_, parts) => {
    const answer = await send(...parts);
    expect(answer).toMatch(/^HTTP\/1\.1 4\d\d /);
    await alive();
  });

  test("a slow body holds its own connection only", async () => {
    const head =
      "POST /v1/inference HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n";
    const slow = Array.from({ length: 50 }, () => new RawClient(server.url));
    await Promise.all(slow.map((client) => client.send(head, "{", " ")));
    expect((await fetch(new URL("/health", server.url))).status).toBe(200);
    expect(slow.filter(({ open }) => open)).toHaveLength(50);
    for (const { closed } of slow) expect(await closed).toMatch(/^HTTP\/1\.1 408 /);
  });

  test("a page whose name was made to lead here can neither read nor change anything", async () => {
    const { port } = new URL(server.url);
    const rebound = (line: string) =>
      send(
        `${line} HTTP/1.1\r\nHost: evil.example:${port}\r\nOrigin: http://evil.example:${port}\r\nContent-Length: 1\r\nConnection: close\r\n\r\n{`,
      );
    for (const line of [
      "POST /v1/loras",
      "POST /v1/inference",
      "GET /v1/requests",
      "GET /metrics",
      "POST /v1/requests/00000000-0000-4000-8000-000000000000/cancel",
    ]) {
      expect(await rebound(line)).toMatch(/^HTTP\/1\.1 421 .*HOST_NOT_ALLOWED/s);
    }
    expect(await rebound("GET /health")).toMatch(/^HTTP\/1\.1 200 /);
  });

  test("a fixed path is never taken for an id", async () => {
    const { status, headers } = await server.call("DELETE", "/v1/loras/inspect");
    expect([status, headers.get("allow")]).toEqual([405, "GET"]);
    expect((await server.call("DELETE", "/v1/loras/none")).status).toBe(404);
  });

  test("a host, a redirect and an origin of the attacker's", async () => {
    const redirected = await send(
      "GET //evil.example/v1/models/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    );
    expect(redirected).not.toMatch(/location: \/\/evil/i);
    const origin = "https://evil.example";
    const submitted = await server.call("GET", "/health", undefined, { origin });
    expect(submitted.headers.get("access-control-allow-origin")).toBeNull();
    expect(submitted.headers.get("x-content-type-options")).toBe("nosniff");
  });
});

test("a request that many delete at once is gone, and none is told that it runs", async () => {
  const body = demoRequest({ loras: [{ path: "http://127.0.0.1:1/x.safetensors" }] });
  const { body: job } = await server.call("POST", "/v1/inference", body);
  await server.ended(job.request_id);
  const path = `/v1/requests/${job.request_id}`;
  const answers = await Promise.all(Array.from({ length: 20 }, () => server.call("DELETE", path)));
  const statuses = new Set(answers.map(({ status }) => status));
  expect(statuses).toContain(204);
  expect([204, 404]).toEqual(expect.arrayContaining([...statuses]));
  expect((await server.call("GET", `${path}/status`)).status).toBe(404);
});

test("tokens are never sent back or logged", async () => {
  const wrong = await server.call("POST", "/v1/inference", { hf_token: secret });
  expect(wrong.status).toBe(422);
  expect(JSON.stringify(wrong.body)).not.toContain(secret);
  const text = Buffer.from(JSON.stringify({ hf_token: secret }));
  const type = { "content-type": "text/plain;charset=UTF-8" };
  const asText = await server.call("POST", "/v1/inference", text, type);
  expect(asText.status).toBe(422);
  expect(JSON.stringify(asText.body)).not.toContain(secret);
  await server.call("GET", `/v1/requests?token=${secret}`);
  await server.call("GET", `/v1/requests/${secret}/status`, undefined, {
    authorization: `Bearer ${secret}`,
  });
  expect(server.log).not.toContain(secret);
});
