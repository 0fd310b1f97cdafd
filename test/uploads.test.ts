import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { demoRequest, ServerProcess } from "./server-process.ts";

const lora = readFileSync(
  fileURLToPath(new URL("../demo/loras/zorple.safetensors", import.meta.url)),
);
const loraId = createHash("sha256").update(lora).digest("hex");
const octets = { "content-type": "application/octet-stream" };
const fileLimit = 2_000_000;

let folder: string;
let server: ServerProcess;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "retake-uploads-"));
  server = await ServerProcess.start(folder, { RETAKE_MAX_LORA: String(fileLimit) });
}, 30_000);
afterAll(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

/** A LoRA like the demonstration's with another name in its header: other content, as long or longer. */
function variant(name: string): Buffer {
  const length = Number(lora.readBigUInt64LE(0));
  const header = JSON.parse(lora.subarray(8, 8 + length).toString());
  header.__metadata__ = { ...header.__metadata__, name };
  const text = Buffer.from(JSON.stringify(header));
  const start = Buffer.alloc(8);
  start.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([start, text, lora.subarray(8 + length)]);
}

interface Answer {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: an answer of any shape
  readonly body: any;
  readonly headers: Headers;
}

async function post(
  body: NonNullable<RequestInit["body"]>,
  headers: Record<string, string> = octets,
  { path = "/v1/loras", to = server }: { path?: string; to?: ServerProcess } = {},
): Promise<Answer> {
  const init = { method: "POST", headers, body, duplex: "half" as const };
  const response = await fetch(new URL(path, to.url), init);
  const text = await response.text();
  return { status: response.status, body: JSON.parse(text), headers: response.headers };
}

const bytesOf = (buffer: Buffer) => new Uint8Array(buffer);
const kept = (place = folder) => readdirSync(join(place, "data", "uploads")).sort();
const idOf = (buffer: Buffer) => createHash("sha256").update(buffer).digest("hex");

test("a LoRA is uploaded, described, listed, used by a request, and deleted", async () => {
  const first = await post(bytesOf(lora), octets, {
    path: "/v1/loras?name=../a/zorple.safetensors",
  });
  expect(first.status).toBe(201);
  expect(first.headers.get("location")).toBe(`/v1/loras/${loraId}`);
  expect(first.body).toMatchObject({
    id: loraId,
    path: `upload:${loraId}`,
    name: "zorple.safetensors",
    bytes: lora.length,
    description: { sha256: loraId, trigger_words: expect.any(Array) },
  });
  expect(JSON.stringify(first.body)).not.toContain(folder);
  expect(kept()).toEqual([`upload-${loraId}.safetensors`]);
  // Once more: the same.
  const second = await post(bytesOf(lora));
  expect([second.status, second.body]).toEqual([200, first.body]);
  expect(kept()).toHaveLength(1);
  const { body: one } = await server.call("GET", `/v1/loras/${loraId}`);
  expect(one).toEqual(first.body);
  const { body: list } = await server.call("GET", "/v1/loras");
  const { description: _, ...listed } = first.body;
  expect(list).toEqual({ loras: [listed], next: null });

  const request = demoRequest({ loras: [{ path: `upload:${loraId}` }] });
  const { body: job } = await server.call("POST", "/v1/inference", request);
  const result = await server.ended(job.request_id);
  expect(result.status).toBe("succeeded");
  expect(result.outputs.images[0].effective.lora.sha256).toBe(loraId);
  const { body: local } = await server.call("POST", "/v1/inference", demoRequest());
  const { outputs } = await server.ended(local.request_id);
  const [uploaded, plain] = [result.outputs.images[0], outputs.images[0]];
  expect(readFileSync(uploaded.file_path).equals(readFileSync(plain.file_path))).toBe(true);

  expect((await server.call("DELETE", `/v1/loras/${loraId}`)).status).toBe(204);
  expect(kept()).toEqual([]);
  expect((await server.call("GET", `/v1/loras/${loraId}`)).status).toBe(404);
  expect((await server.call("DELETE", `/v1/loras/${loraId}`)).status).toBe(404);
  const gone = await server.call("POST", "/v1/inference", request);
  expect([gone.status, gone.body.detail.error.code]).toEqual([400, "LORA_NOT_FOUND"]);
  expect(gone.body.detail.error.details).toEqual({ lora_path: `upload:${loraId}` });
});

test("a form as browsers send it; its field goes before the file's name", async () => {
  const form = new FormData();
  form.set("file", new Blob([bytesOf(lora)]), "C:\\loras\\mine \u202e.safetensors");
  const first = await post(form, {});
  expect([first.status, first.body.name]).toEqual([201, "mine .safetensors"]);
  await server.call("DELETE", `/v1/loras/${loraId}`);
  form.set("name", "better");
  expect((await post(form, {})).body.name).toBe("better");
  await server.call("DELETE", `/v1/loras/${loraId}`);
  expect(kept()).toEqual([]);
});

test("uploads are listed in pages, newest first", async () => {
  const all = [variant("1"), variant("2"), variant("3")];
  for (const content of all) expect((await post(bytesOf(content))).status).toBe(201);
  const ids: string[] = [];
  let next: string | null = "";
  while (next !== null) {
    const after: string = next === "" ? "" : `&after=${next}`;
    const { body } = await server.call("GET", `/v1/loras?limit=2${after}`);
    ids.push(...body.loras.map(({ id }: { id: string }) => id));
    next = body.next;
  }
  expect(ids).toEqual(all.toReversed().map(idOf));
  for (const id of ids) await server.call("DELETE", `/v1/loras/${id}`);
  for (const query of ["limit=0", "after=..", "after=upload:1"])
    expect((await server.call("GET", `/v1/loras?${query}`)).status).toBe(400);
});

test("an upload that a request needs stays until it has ended", async () => {
  await post(bytesOf(lora));
  const { body: job } = await server.call(
    "POST",
    "/v1/inference",
    demoRequest(
      { loras: [{ path: `upload:${loraId}` }] },
      { sample_steps: 150, width: 512, height: 512 },
    ),
  );
  const refused = await server.call("DELETE", `/v1/loras/${loraId}`);
  expect([refused.status, refused.body.detail.error.code]).toEqual([409, "LORA_IN_USE"]);
  expect(refused.body.detail.error.details).toEqual({ request_ids: [job.request_id] });
  await server.call("POST", `/v1/requests/${job.request_id}/cancel`);
  await server.ended(job.request_id);
  expect((await server.call("DELETE", `/v1/loras/${loraId}`)).status).toBe(204);
});

test("twenty uploads of one file at once are one file", async () => {
  const answers = await Promise.all(Array.from({ length: 20 }, () => post(bytesOf(lora))));
  const statuses = answers.map(({ status }) => status).sort();
  expect(statuses).toEqual([...Array(19).fill(200), 201]);
  expect(kept()).toEqual([`upload-${loraId}.safetensors`]);
  await server.call("DELETE", `/v1/loras/${loraId}`);
}, 60_000);

describe("what is no LoRA is refused, and nothing stays", () => {
  test.each<[string, Buffer, RegExp]>([
    ["a pickle", Buffer.from("\x80\x04\x95private words", "latin1"), /Python pickle/],
    ["a zip archive", Buffer.from("PK\x03\x04private words"), /zip archive/],
    ["a web page", Buffer.from("<!doctype html>private words"), /web page/],
    ["gzip", gzipSync(Buffer.alloc(1000)), /gzip/],
    ["nothing", Buffer.alloc(0), /has only 0 bytes/],
    ["a few bytes", Buffer.from("LoRA"), /has only 4 bytes/],
    ["a cut file", lora.subarray(0, lora.length >> 1), /cut off/],
    ["a file with something behind", Buffer.concat([lora, Buffer.alloc(9)]), /follow its last/],
    [
      "other tensors",
      Buffer.concat([Buffer.from("\x02\0\0\0\0\0\0\0", "latin1"), Buffer.from("{}")]),
      /can't be used as a LoRA/,
    ],
  ])("%s", async (_, content, reason) => {
    const { status, body } = await post(bytesOf(content));
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
    const { status, body } = await post(bytesOf(Buffer.concat([start, header])));
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
    expect((await post(bytesOf(lora), headers)).status).toBe(status);
    expect(kept()).toEqual([]);
  });

  test("forms with several files, with none, or cut off", async () => {
    const two = new FormData();
    two.append("file", new Blob([bytesOf(lora)]), "a.safetensors");
    two.append("file", new Blob([bytesOf(variant("b"))]), "b.safetensors");
    const none = new FormData();
    none.append("name", "x");
    const many = new FormData();
    for (let i = 0; i < 30; i++) many.append(`field${i}`, "x");
    for (const [form, reason] of [
      [two, /several files/],
      [none, /no file/],
      [many, /too many parts/],
    ] as const) {
      const { status, body } = await post(form, {});
      expect([status, body.detail.error.code]).toEqual([400, "INVALID_PARAMETER"]);
      expect(body.detail.error.message).toMatch(reason);
      expect(kept()).toEqual([]);
    }
    const cut = `--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n`;
    const body = Buffer.concat([Buffer.from(cut), lora]);
    const answer = await post(bytesOf(body), { "content-type": "multipart/form-data; boundary=x" });
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
  ])("the name %s", async (name, shown) => {
    const { body } = await post(bytesOf(lora), octets, { path: `/v1/loras?name=${name}` });
    expect(body.name).toBe(shown);
    await server.call("DELETE", `/v1/loras/${loraId}`);
  });
});

test("inspect says what a path or link leads to, and refuses what a request could not name", async () => {
  const inspect = (path: string) =>
    server.call("GET", `/v1/loras/inspect?path=${encodeURIComponent(path)}`);
  expect((await inspect("zorple.safetensors")).body.description.sha256).toBe(loraId);
  await post(bytesOf(lora));
  expect((await inspect(`upload:${loraId}`)).body.description.sha256).toBe(loraId);
  await server.call("DELETE", `/v1/loras/${loraId}`);
  for (const path of ["../x.safetensors", "/etc/passwd", "none.safetensors"]) {
    const { status, body } = await inspect(path);
    expect([status, body.detail.error.code]).toEqual([400, "LORA_NOT_FOUND"]);
  }
  const inside = await inspect("https://127.0.0.1/x.safetensors?token=s3cret");
  expect([inside.status, inside.body.detail.error.code]).toEqual([400, "LORA_NOT_USABLE"]);
  expect(JSON.stringify(inside.body)).not.toContain("s3cret");
  expect((await server.call("GET", "/v1/loras/inspect")).status).toBe(400);
});

/** Sends the start of an upload as bytes; answers what came back until the connection ended. */
function sendSlowly(
  parts: readonly (string | Buffer)[],
  { pauseMs = 10, limitMs = 8000 }: { pauseMs?: number; limitMs?: number } = {},
): Promise<{ answer: string; closed: boolean; milliseconds: number }> {
  const { hostname, port } = new URL(server.url);
  const startedAt = performance.now();
  return new Promise((resolve) => {
    let answer = "";
    const socket = connect(Number(port), hostname, async () => {
      for (const part of parts) {
        if (socket.destroyed) return;
        if (!socket.write(part)) await new Promise((done) => socket.once("drain", done));
        await new Promise((done) => setTimeout(done, pauseMs));
      }
    });
    const end = (closed: boolean) => {
      socket.destroy();
      resolve({ answer, closed, milliseconds: performance.now() - startedAt });
    };
    socket.on("data", (data) => {
      answer += data;
    });
    socket.on("close", () => end(true)).on("error", () => {});
    setTimeout(() => end(false), limitMs);
  });
}

const head = (fields: string) =>
  `POST /v1/loras HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n${fields}\r\n\r\n`;

describe("bodies that don't end well", () => {
  test("a declared length beyond the limit: refused unread, the connection closed", async () => {
    const { answer, closed, milliseconds } = await sendSlowly([
      head("Content-Length: 8000000000"),
      lora,
    ]);
    expect(answer).toMatch(/^HTTP\/1\.1 413 .*LORA_TOO_LARGE/s);
    expect(closed).toBe(true);
    expect(milliseconds).toBeLessThan(5000);
    expect(kept()).toEqual([]);
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
    const { answer, closed } = await sendSlowly(
      [head("Transfer-Encoding: chunked"), first, ...Array(400).fill(chunk)],
      { pauseMs: 1 },
    );
    expect(answer).toMatch(/^HTTP\/1\.1 413 .*LORA_TOO_LARGE/s);
    expect(closed).toBe(true);
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
    const half = lora.subarray(0, lora.length >> 1);
    const sent = sendSlowly([head(`Content-Length: ${lora.length}`), half], { limitMs: 400 });
    await new Promise((done) => setTimeout(done, 250));
    expect(kept()).toHaveLength(1); // being received
    await sent;
    for (let tries = 0; tries < 40 && kept().length > 0; tries++)
      await new Promise((done) => setTimeout(done, 50));
    expect(kept()).toEqual([]);
    expect((await server.call("GET", "/v1/loras")).body.loras).toEqual([]);
  });

  test("slow ones hold their own connections only, and end after half a minute of nothing", async () => {
    const slow = Array.from({ length: 30 }, () =>
      sendSlowly([head(`Content-Length: ${lora.length}`), lora.subarray(0, 100)], {
        limitMs: 40_000,
      }),
    );
    await new Promise((done) => setTimeout(done, 300));
    const startedAt = performance.now();
    expect((await post(bytesOf(lora))).status).toBe(201);
    expect(performance.now() - startedAt).toBeLessThan(3000);
    await server.call("DELETE", `/v1/loras/${loraId}`);
    for (const { answer, closed } of await Promise.all(slow)) {
      expect(answer).toMatch(/^HTTP\/1\.1 408 /);
      expect(closed).toBe(true);
    }
    expect(kept()).toEqual([]);
  }, 60_000);
});

test("a killed server: what was received is gone, what was kept is there", async () => {
  const own = join(folder, "killed");
  const first = await ServerProcess.start(own);
  expect((await post(bytesOf(lora), octets, { to: first })).status).toBe(201);
  const { hostname, port } = new URL(first.url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => {});
  socket.write(head(`Content-Length: ${lora.length}`));
  socket.write(lora.subarray(0, 1000));
  while (kept(own).length < 2) await new Promise((done) => setTimeout(done, 20));
  await first.kill();
  socket.destroy();
  const second = await ServerProcess.start(own);
  expect(kept(own)).toEqual([`upload-${loraId}.safetensors`]);
  const { body } = await second.call("GET", "/v1/loras");
  expect(body.loras.map(({ id }: { id: string }) => id)).toEqual([loraId]);
  const request = demoRequest({ loras: [{ path: `upload:${loraId}` }] });
  const { body: job } = await second.call("POST", "/v1/inference", request);
  expect((await second.ended(job.request_id)).status).toBe("succeeded");
  await second.stop();
}, 60_000);

test("all uploads together have a bound", async () => {
  const own = join(folder, "bounded");
  const limit = String(Math.floor(lora.length * 1.5));
  const bounded = await ServerProcess.start(own, { RETAKE_MAX_UPLOADS: limit });
  expect((await post(bytesOf(lora), octets, { to: bounded })).status).toBe(201);
  const full = await post(bytesOf(variant("x")), octets, { to: bounded });
  expect([full.status, full.body.detail.error.code]).toEqual([507, "UPLOADS_FULL"]);
  expect(kept(own)).toEqual([`upload-${loraId}.safetensors`]);
  await bounded.call("DELETE", `/v1/loras/${loraId}`);
  expect((await post(bytesOf(variant("x")), octets, { to: bounded })).status).toBe(201);
  await bounded.stop();
}, 60_000);

// Mounting a small disk needs root.
test.skipIf(process.getuid?.() !== 0 || process.platform !== "linux")(
  "a full disk is said, and leaves nothing",
  async () => {
    const own = join(folder, "full");
    const uploads = join(own, "data", "uploads");
    mkdirSync(uploads, { recursive: true });
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", uploads]);
    try {
      const small = await ServerProcess.start(own);
      const { status, body } = await post(bytesOf(lora), octets, { to: small });
      expect([status, body.detail.error.code]).toEqual([507, "DISK_FULL"]);
      expect(kept(own)).toEqual([]);
      expect((await small.call("GET", "/v1/loras")).body.loras).toEqual([]);
      await small.stop();
    } finally {
      execFileSync("umount", ["--lazy", uploads]);
    }
  },
  60_000,
);

describe("with API keys", () => {
  let guarded: ServerProcess;
  const secrets: Record<string, string> = {};
  beforeAll(async () => {
    const main = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));
    const keys = join(folder, "keys.json");
    for (const name of ["alice", "bob"]) {
      const args = [main, "keys", "add", name, "--file", keys];
      secrets[name] = execFileSync(process.execPath, args, { encoding: "utf8" }).trim();
    }
    guarded = await ServerProcess.start(join(folder, "guarded"), { RETAKE_API_KEYS: keys });
  }, 30_000);
  afterAll(() => guarded.stop());
  const as = (name: string) => ({ authorization: `Bearer ${secrets[name]}` });

  test("nobody uploads without one; owners neither see nor use nor delete each other's", async () => {
    const to = { to: guarded };
    const refused = await post(bytesOf(lora), octets, to);
    expect(refused.status).toBe(401);
    expect((await post(bytesOf(lora), { ...octets, ...as("alice") }, to)).status).toBe(201);
    const path = `/v1/loras/${loraId}`;
    expect((await guarded.call("GET", path, undefined, as("bob"))).status).toBe(404);
    expect((await guarded.call("DELETE", path, undefined, as("bob"))).status).toBe(404);
    expect((await guarded.call("GET", "/v1/loras", undefined, as("bob"))).body.loras).toEqual([]);
    const request = demoRequest({ loras: [{ path: `upload:${loraId}` }] });
    const stolen = await guarded.call("POST", "/v1/inference", request, as("bob"));
    expect([stolen.status, stolen.body.detail.error.code]).toEqual([400, "LORA_NOT_FOUND"]);
    const seen = await guarded.call(
      "GET",
      `/v1/loras/inspect?path=upload:${loraId}`,
      undefined,
      as("bob"),
    );
    expect(seen.status).toBe(400);

    // The same content by another is an entry of its own, and the file stays while one is left.
    expect((await post(bytesOf(lora), { ...octets, ...as("bob") }, to)).status).toBe(201);
    const file = join(folder, "guarded", "data", "uploads", `upload-${loraId}.safetensors`);
    expect((await guarded.call("DELETE", path, undefined, as("alice"))).status).toBe(204);
    expect(existsSync(file)).toBe(true);
    expect((await guarded.call("GET", path, undefined, as("alice"))).status).toBe(404);
    expect((await guarded.call("DELETE", path, undefined, as("bob"))).status).toBe(204);
    expect(existsSync(file)).toBe(false);
  });
});
