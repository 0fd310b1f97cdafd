import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { demoRequest } from "./caller.ts";
import { lora } from "./lora-site.ts";
import {
  diverged,
  keptIn,
  loraId,
  octets,
  postLora,
  uploadServer,
  variant,
} from "./lora-upload.ts";
import { RawClient, sendRaw } from "./raw-client.ts";
import { TestServer } from "./test-server.ts";

const { folder, server, post, kept } = await uploadServer();

describe("what is no LoRA is refused, and nothing stays", () => {
  test.each<[string, Buffer, RegExp]>([
    ["a pickle", Buffer.from("\x80\x04\x95private words", "latin1"), /Python pickle/],
    ["a zip archive", Buffer.from("PK\x03\x04private words"), /zip archive/],
    ["a web page", Buffer.from("<!doctype html>private words"), /web page/],
    ["gzip", gzipSync(Buffer.alloc(1000)), /gzip/],
    [
      "a header that would stall the server",
      Buffer.from("\x01\0\0\x01\0\0\0\0{", "latin1"),
      /header has 16777217 bytes/,
    ],
    ["nothing", Buffer.alloc(0), /has only 0 bytes/],
    ["a few bytes", Buffer.from("LoRA"), /has only 4 bytes/],
    ["a cut file", lora.subarray(0, lora.length >> 1), /cut off/],
    ["a file with something behind", Buffer.concat([lora, Buffer.alloc(9)]), /follow its last/],
    ["a training that diverged", diverged(), /can't be used as a LoRA: .* is NaN at element/],
    [
      "other tensors",
      Buffer.concat([Buffer.from("\x02\0\0\0\0\0\0\0", "latin1"), Buffer.from("{}")]),
      /can't be used as a LoRA/,
    ],
  ])("%s", async (_, content, reason) => {
    const { status, body } = await post(content);
    expect([status, body.detail.error.code]).toEqual([400, "LORA_NOT_USABLE"]);
    expect(body.detail.error.message).toMatch(reason);
    expect(body.detail.error.message).not.toMatch(/private words|retake-uploads|\.tmp/);
    expect(kept()).toEqual([]);
  });

  test("a matrix that would fill memory", async () => {
    const shape = [2 ** 15, 2 ** 15];
    const header = Buffer.from(
      JSON.stringify({
        "diffusion_model.x.lora_A.weight": { dtype: "F32", shape, data_offsets: [0, 2 ** 32] },
      }),
    );
    const start = Buffer.alloc(8);
    start.writeBigUInt64LE(BigInt(header.length));
    const { status, body } = await post(Buffer.concat([start, header]));
    expect([status, body.detail.error.code]).toEqual([400, "LORA_NOT_USABLE"]);
  });

  test.each<[string, Record<string, string>, number]>([
    ["JSON", { "content-type": "application/json" }, 415],
    ["text", { "content-type": "text/plain" }, 415],
    ["a form without files", { "content-type": "application/x-www-form-urlencoded" }, 415],
    ["no type at all", { "content-type": "\u00e9" }, 415],
    ["a form without a boundary", { "content-type": "multipart/form-data" }, 400],
    ["a form that is none", { "content-type": "multipart/form-data; boundary=x" }, 400],
    ["compressed", { ...octets, "content-encoding": "gzip" }, 415],
    ["another site's page", { ...octets, origin: "https://evil.example" }, 403],
    ["a page without a name", { ...octets, origin: "null" }, 403],
  ])("%s", async (_, headers, status) => {
    expect((await post(lora, headers)).status).toBe(status);
    expect(kept()).toEqual([]);
  });

  test("forms with several files, with none, or cut off", async () => {
    const two = new FormData();
    two.append("file", new Blob([lora]), "a.safetensors");
    two.append("file", new Blob([variant("b")]), "b.safetensors");
    const none = new FormData();
    none.append("name", "x");
    const many = new FormData();
    for (let i = 0; i < 30; i++) many.append(`field${i}`, "x");
    for (const [form, reason] of [
      [two, /several files/],
      [none, /no file/],
      [many, /too many parts/],
    ] as const) {
      const { status, body } = await post(form);
      expect([status, body.detail.error.code]).toEqual([400, "INVALID_PARAMETER"]);
      expect(body.detail.error.message).toMatch(reason);
      expect(kept()).toEqual([]);
    }
    const cut = `--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n`;
    const body = Buffer.concat([Buffer.from(cut), lora]);
    const answer = await post(body, { "content-type": "multipart/form-data; boundary=x" });
    expect(answer.status).toBe(400);
    expect(kept()).toEqual([]);
  });
});

describe("names and ids that are paths", () => {
  test.each(["..%2f..%2fetc%2fpasswd", "%2e%2e", loraId.toUpperCase(), `${loraId}.safetensors`])(
    "%s is no id",
    async (id) => {
      for (const method of ["GET", "DELETE"]) {
        const { status, body } = await server.call(method, `/v1/loras/${id}`);
        expect(status).toBe(404);
        expect(JSON.stringify(body)).not.toContain(folder);
      }
    },
  );

  test.each(["", "..", "../../x", "/etc/passwd", loraId.slice(1), `${loraId}/../x`, "\0"])(
    "upload:%s is no LoRA",
    async (id) => {
      const path = `upload:${id}`;
      const { status, body } = await server.call(
        "POST",
        "/v1/inference",
        demoRequest({ loras: [{ path }] }),
      );
      expect([status, body.detail.error.code]).toEqual([400, "LORA_NOT_FOUND"]);
      const inspected = await server.call(
        "GET",
        `/v1/loras/inspect?path=${encodeURIComponent(path)}`,
      );
      expect([inspected.status, inspected.body.detail.error.code]).toEqual([400, "LORA_NOT_FOUND"]);
    },
  );

  test.each([
    ["%00%0d%0aset-cookie%3a x", "set-cookie: x"],
    ["..%2f..%2f", null],
    ["..", null],
    ["a".repeat(900), "a".repeat(200)],
  ])("a name, case %#", async (name, shown) => {
    const { body } = await post(lora, octets, `/v1/loras?name=${name}`);
    expect(body.name).toBe(shown);
    await server.call("DELETE", `/v1/loras/${loraId}`);
  });
});

const head = (fields: string) =>
  `POST /v1/loras HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n${fields}\r\n\r\n`;

describe("bodies that don't end well", () => {
  test("a declared length beyond the limit: refused unread, the connection closed", async () => {
    const answer = await sendRaw(server.url, head("Content-Length: 8000000000"), lora);
    expect(answer).toMatch(/^HTTP\/1\.1 413 .*LORA_TOO_LARGE/s);
    expect(kept()).toEqual([]);
  });

  test("refused early, and sent to its end: the connection serves the next request", async () => {
    const length = 1_500_000;
    const patient = await TestServer.start(
      join(folder, "patient"),
      {},
      { lingerMilliseconds: 90_000 },
    );
    const client = new RawClient(patient.url);
    await client.send(head(`Content-Length: ${length}`), "<!doctype html>");
    await client.heard(/^HTTP\/1\.1 400 .*LORA_NOT_USABLE/s);
    const next = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    await client.send(Buffer.alloc(length - 15), next);
    expect(await client.closed).toMatch(/^HTTP\/1\.1 400 .*HTTP\/1\.1 200 .*healthy/s);
    await patient.stop();
  });

  test("chunks without an end: refused at the limit, the connection closed", async () => {
    const chunk = Buffer.concat([
      Buffer.from("10000\r\n"),
      Buffer.alloc(65_536),
      Buffer.from("\r\n"),
    ]);
    const first = Buffer.concat([
      Buffer.from(`${lora.length.toString(16)}\r\n`),
      lora,
      Buffer.from("\r\n"),
    ]);
    const chunks = Array(400).fill(chunk);
    const answer = await sendRaw(server.url, head("Transfer-Encoding: chunked"), first, ...chunks);
    expect(answer).toMatch(/^HTTP\/1\.1 413 .*LORA_TOO_LARGE/s);
    expect(kept()).toEqual([]);
  });

  test("chunked without a length, whole: taken", async () => {
    const stream = new ReadableStream({
      start(controller) {
        for (let at = 0; at < lora.length; at += 10_000)
          controller.enqueue(new Uint8Array(lora.subarray(at, at + 10_000)));
        controller.close();
      },
    });
    const { status, body } = await post(stream);
    expect([status, body.id]).toEqual([201, loraId]);
    await server.call("DELETE", `/v1/loras/${loraId}`);
  });

  test("cut off by the client: nothing stays", async () => {
    const client = new RawClient(server.url);
    await client.send(head(`Content-Length: ${lora.length}`), lora.subarray(0, lora.length >> 1));
    await expect.poll(kept, { timeout: 60_000 }).toHaveLength(1); // being received
    client.drop();
    await expect.poll(kept, { timeout: 60_000 }).toEqual([]);
    expect((await server.call("GET", "/v1/loras")).body.loras).toEqual([]);
  });

  test("a server that is told to stop does not wait for them", async () => {
    const own = join(folder, "stopped");
    const stopped = await TestServer.start(own);
    const client = new RawClient(stopped.url);
    await client.send(head(`Content-Length: ${lora.length}`), lora.subarray(0, 1000));
    await expect.poll(() => keptIn(own), { timeout: 60_000 }).toHaveLength(1);
    await stopped.stop();
    await client.closed;
    await expect.poll(() => keptIn(own), { timeout: 60_000 }).toEqual([]);
  });

  test("slow ones hold their own connections only, and end after a time of nothing", async () => {
    const own = join(folder, "hasty");
    const hasty = await TestServer.start(
      own,
      {},
      { idleMilliseconds: 4000, lingerMilliseconds: 500 },
    );
    const slow = Array.from({ length: 30 }, () => new RawClient(hasty.url));
    const start = head(`Content-Length: ${lora.length}`);
    await Promise.all(slow.map((client) => client.send(start, lora.subarray(0, 100))));
    expect((await postLora(hasty, lora)).status).toBe(201);
    expect(slow.filter(({ open }) => open)).toHaveLength(30);
    await hasty.call("DELETE", `/v1/loras/${loraId}`);
    for (const { closed } of slow) expect(await closed).toMatch(/^HTTP\/1\.1 408 /);
    await expect.poll(() => keptIn(own), { timeout: 60_000 }).toEqual([]);
    await hasty.stop();
  });
});
