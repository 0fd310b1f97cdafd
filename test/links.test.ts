import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { demoRequest } from "./caller.ts";
import { ServerProcess } from "./server-process.ts";
import { TestServer } from "./test-server.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-links-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Links of the answer to a request that came with this Host. */
async function linksBy(server: TestServer, host: string): Promise<string[]> {
  const { status, body } = await server.call("POST", "/v1/inference", demoRequest(), { host });
  expect(status).toBe(200);
  return [body.status_url, body.result_url, body.events_url, body.cancel_url];
}

describe("without BASE_URL", () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await TestServer.start(join(folder, "own"), { DEVICE: "none" });
  });
  afterAll(() => server.stop());

  test.each([
    ["192.168.7.9:8123", "http://192.168.7.9:8123"],
    ["[fd00::1]:8000", "http://[fd00::1]:8000"],
    ["LocalHost:8000", "http://localhost:8000"],
  ])("a client that asks %s gets links to it", async (host, start) => {
    for (const link of await linksBy(server, host))
      expect(link).toMatch(new RegExp(`^${start.replace(/[[\]]/g, "\\$&")}/v1/requests/`));
  });

  test("a client of HTTP/1.0, which names no host, gets the address that is listened on", async () => {
    const { hostname, port } = new URL(server.url);
    const socket = connect(Number(port), hostname);
    await once(socket, "connect");
    const body = JSON.stringify(demoRequest());
    const head = `content-type: application/json\r\ncontent-length: ${body.length}`;
    socket.write(`POST /v1/inference HTTP/1.0\r\n${head}\r\n\r\n${body}`);
    expect(await text(socket)).toContain(`"status_url":"${server.url}/v1/requests/`);
  });
});

test("with BASE_URL links start with it, whatever the client asked", async () => {
  const server = await TestServer.start(join(folder, "base"), {
    DEVICE: "none",
    BASE_URL: "https://pictures.example/retake/",
  });
  try {
    for (const link of await linksBy(server, "192.168.7.9:8123"))
      expect(link).toMatch(/^https:\/\/pictures\.example\/retake\/v1\/requests\//);
  } finally {
    await server.stop();
  }
});

test("a server that others reach without keys says so at its start", async () => {
  const start = (name: string, HOST: string) =>
    ServerProcess.start(join(folder, name), { DEVICE: "none", HOST });
  const [open, own] = await Promise.all([start("open", "0.0.0.0"), start("loopback", "localhost")]);
  await Promise.all([open.stop(), own.stop()]);
  expect(open.log).toMatch(/^warning: HOST is 0\.0\.0\.0, and there are no API keys/m);
  expect(open.log).toMatch(/^\{"level":40.*"host":"0\.0\.0\.0"/m);
  expect(own.log).not.toContain("API keys");
});
