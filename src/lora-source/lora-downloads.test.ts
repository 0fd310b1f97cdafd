import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { parseRanges } from "../net/addresses.ts";
import { SafeFetcher } from "../net/safe-fetch.ts";
import { LoraDownloads } from "./lora-downloads.ts";

const zorple = readFileSync(
  fileURLToPath(new URL("../../demo/loras/zorple.safetensors", import.meta.url)),
);
const signal = AbortSignal.timeout(60_000);
const fetcher = new SafeFetcher({ allowed: parseRanges(["127.0.0.1"]), allowHttp: true });

let server: Server;
let base: string;
let requests: string[];
let answer: (request: IncomingMessage, response: ServerResponse) => void;
let folder: string;
let downloads: LoraDownloads;
beforeAll(async () => {
  server = createServer((request, response) => {
    requests.push(request.url ?? "");
    answer(request, response);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`; // a TCP server's address
});
afterAll(async () => {
  await fetcher.close();
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  requests = [];
  folder = mkdtempSync(join(tmpdir(), "retake-loras-"));
  downloads = new LoraDownloads(fetcher, { folder, maxBytes: 1_000_000, cacheBytes: 2_000_000 });
  return () => rmSync(folder, { recursive: true });
});

function sendLora(response: ServerResponse): void {
  response.writeHead(200, { "content-length": zorple.length }).end(zorple);
}

test("a LoRA is fetched once, checked and kept under a name that tells what it is", async () => {
  answer = (_, response) => sendLora(response);
  const url = `${base}/some/My%20LoRA.safetensors?download=true`;
  const [file, same] = await Promise.all([downloads.get(url, signal), downloads.get(url, signal)]);
  expect(same).toBe(file);
  expect(await downloads.get(url, signal)).toBe(file);
  expect(requests).toHaveLength(1);
  expect(file).toMatch(/My_LoRA_[0-9a-f]{16}\.safetensors$/);
  expect(readFileSync(file).equals(zorple)).toBe(true);
  await downloads.get(`${base}/some/My%20LoRA.safetensors?download=false`, signal);
  expect(requests).toHaveLength(2);
});

test("a damaged file in the cache is fetched again", async () => {
  answer = (_, response) => sendLora(response);
  const file = await downloads.get(`${base}/a.safetensors`, signal);
  writeFileSync(file, "broken");
  await downloads.get(`${base}/a.safetensors`, signal);
  expect(readFileSync(file).equals(zorple)).toBe(true);
});

test("a download that is cut off is tried again", async () => {
  answer = (_, response) => {
    if (requests.length > 1) return sendLora(response);
    response.writeHead(200, { "content-length": zorple.length });
    response.write(zorple.subarray(0, 1000), () => response.destroy());
  };
  await downloads.get(`${base}/a.safetensors`, signal);
  expect(requests).toHaveLength(2);
});

test("what was unused for longest makes room", async () => {
  answer = (_, response) => sendLora(response);
  const small = { folder, maxBytes: 200_000, cacheBytes: 400_000 };
  const tight = new LoraDownloads(fetcher, small);
  for (const name of ["a", "b", "c"]) await tight.get(`${base}/${name}.safetensors`, signal);
  const total = readdirSync(folder).reduce(
    (sum, name) => sum + statSync(join(folder, name)).size,
    0,
  );
  expect(total).toBeLessThanOrEqual(400_000);
  expect(readdirSync(folder).some((name) => name.startsWith("c_"))).toBe(true);
});

describe("what is no LoRA is refused with the reason, and nothing is kept", () => {
  const endless = (response: ServerResponse) => {
    const more = () => {
      while (response.write(Buffer.alloc(65_536, 1)));
      response.once("drain", more);
    };
    more();
  };
  test.each<[string, (response: ServerResponse) => void, RegExp]>([
    [
      "a web page",
      (r) => r.end("\n <!DOCTYPE html><title>login</title>"),
      /a web page, not a file/,
    ],
    [
      "a zip",
      (r) => r.end(Buffer.concat([Buffer.from("PK\u0003\u0004"), Buffer.alloc(64)])),
      /zip/,
    ],
    ["a pickle", (r) => r.end(Buffer.from([0x80, 2, 0x8a, 10, 108])), /pickle/],
    ["gzip", (r) => r.end(Buffer.from([0x1f, 0x8b, 8, 0])), /is compressed/],
    [
      "a compressed answer",
      (r) => r.writeHead(200, { "content-encoding": "gzip" }).end("x"),
      /comes compressed/,
    ],
    ["nothing", (r) => r.end(), /no sound \.safetensors file/],
    ["other bytes", (r) => r.end(Buffer.alloc(100, 7)), /no sound \.safetensors file/],
    ["an endless body", endless, /larger than 1000000 bytes/],
    [
      "too much, by its own word",
      (r) => r.writeHead(200, { "content-length": 9_000_000 }).write("x"),
      /larger than 1000000 bytes/,
    ],
    ["401", (r) => r.writeHead(401).end("secret text"), /answers 401: it asks for a login/],
    ["403", (r) => r.writeHead(403).end(), /answers 403.*terms are accepted on 127\.0\.0\.1/],
    ["404", (r) => r.writeHead(404).end(), /answers 404: there is no such file/],
  ])("%s", async (_, send, message) => {
    answer = (_, response) => send(response);
    const url = `${base}/x.safetensors?token=very-secret`;
    const error = await downloads.get(url, signal).catch((reason) => reason);
    expect(error.message).toMatch(message);
    expect(error.message).not.toMatch(/secret|retake-loras/);
    expect(requests).toHaveLength(1);
    expect(readdirSync(folder)).toEqual([]);
  });

  test("a folder's page on the hub", async () => {
    const page = "https://huggingface.co/someone/lora/tree/main";
    await expect(downloads.get(page, signal)).rejects.toThrow(/is a folder's page/);
  });
});
