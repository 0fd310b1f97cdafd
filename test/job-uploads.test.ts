import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { addApiKey } from "../src/http/api-keys.ts";
import { largestConfig } from "../src/preview/config-text.ts";
import type { JobFile } from "./job-folders.ts";
import { filesOfJob, manifestOf, putFile, uploadJob } from "./job-folders.ts";
import { idOf, keptIn, octets, postLora } from "./lora-upload.ts";
import { RawClient } from "./raw-client.ts";
import { ServerProcess } from "./server-process.ts";
import { TestServer } from "./test-server.ts";

const folder = mkdtempSync(join(tmpdir(), "retake-job-uploads-"));
let server: TestServer;
beforeAll(async () => {
  server = await TestServer.start(join(folder, "plain"), { DEVICE: "none" });
});
afterAll(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

const files = filesOfJob("e2-lokr");
const config = files.find(({ path }) => path === "config.yaml")!;
const loras = files.filter(({ path }) => path.endsWith(".safetensors"));
const preview = files.find(({ path }) => path.startsWith("samples/"))!;
const kept = () => keptIn(join(folder, "plain"));
const begin = (body: unknown) => server.call("POST", "/v1/previews/uploads", body);
const codeOf = ({
  status,
  body,
}: {
  status: number;
  body: { detail: { error: { code: string } } };
}) => `${status} ${body.detail.error.code}`;

test("a folder comes file by file, is described, asked for, listed and deleted", async () => {
  const begun = await begin(manifestOf(files));
  expect(begun.status).toBe(201);
  const { id } = begun.body;
  expect(begun.headers.get("location")).toBe(`/v1/previews/uploads/${id}`);
  expect(begun.body).toMatchObject({ name: "my job", complete: false, model: null });
  expect(begun.body.bytes).toBe(files.reduce((sum, { content }) => sum + content.length, 0));
  const [first, ...rest] = files;
  expect((await putFile(server, id, first!)).status).toBe(204);
  // Sent again, as after an answer that was lost.
  expect((await putFile(server, id, first!)).status).toBe(204);
  const asked = await server.call("POST", "/v1/previews", { upload: id });
  expect(codeOf(asked)).toBe("409 JOB_UPLOAD_INCOMPLETE");
  expect(asked.body.detail.error.details).toEqual({ upload: id, missing: files.length - 1 });
  for (const file of rest) expect((await putFile(server, id, file)).status).toBe(204);

  const { body } = await server.call("GET", `/v1/previews/uploads/${id}`);
  expect(body).toMatchObject({ complete: true, model: "zimage" });
  expect(body.files).toEqual(
    manifestOf(files)
      .files.map((file) => ({
        ...file,
        received: true,
        url: `${body.url}/files/${file.path}`,
      }))
      .sort((a, b) => (a.path < b.path ? -1 : 1)),
  );
  expect(kept()).toEqual(
    [...new Set(files.map(({ content }) => `upload-${idOf(content)}.safetensors`))].sort(),
  );
  const { body: list } = await server.call("GET", "/v1/previews/uploads");
  const { complete: _, bytes: __, files: ___, ...head } = body;
  expect(list).toEqual({ uploads: [head], next: null });
  // They are no LoRAs of the library.
  expect((await server.call("GET", "/v1/loras")).body.loras).toEqual([]);

  const { body: job } = await server.call("POST", "/v1/previews", { upload: id });
  const used = await server.call("DELETE", `/v1/previews/uploads/${id}`);
  expect(codeOf(used)).toBe("409 JOB_UPLOAD_IN_USE");
  expect(used.body.detail.error.details).toEqual({ request_ids: [job.request_id] });
  const { body: status } = await server.call("GET", `/v1/requests/${job.request_id}/status`);
  expect(status).toMatchObject({ kind: "retake", model: "zimage", status: "in_queue" });
  const listed = await server.call("GET", "/v1/requests?kind=retake");
  expect(listed.body.requests).toEqual([status]);
  expect((await server.call("GET", "/v1/requests?kind=pictures")).body.requests).toEqual([]);
  await server.call("POST", `/v1/requests/${job.request_id}/cancel`);

  expect((await server.call("DELETE", `/v1/previews/uploads/${id}`)).status).toBe(204);
  expect(kept()).toEqual([]);
  expect(codeOf(await server.call("GET", `/v1/previews/uploads/${id}`))).toBe(
    "404 JOB_UPLOAD_NOT_FOUND",
  );
  expect(codeOf(await server.call("POST", "/v1/previews", { upload: id }))).toBe(
    "404 JOB_UPLOAD_NOT_FOUND",
  );
});

test("a LoRA that its owner has uploaded is not asked for again, and stays for the folder", async () => {
  const [lora] = loras;
  await postLora(server, lora!.content, octets);
  const manifest = manifestOf([config, preview, lora!]);
  const { body } = await begin(manifest);
  const received = body.files.filter((file: { received: boolean }) => file.received);
  expect(received.map((file: { path: string }) => file.path)).toEqual([lora!.path]);
  await server.call("DELETE", `/v1/loras/${idOf(lora!.content)}`);
  expect(kept()).toEqual([`upload-${idOf(lora!.content)}.safetensors`]);
  // Another length under the same hash is another file.
  const { body: other } = await begin({
    ...manifest,
    files: manifest.files.map((file) => ({ ...file, bytes: file.bytes + 1 })),
  });
  expect(other.files.some((file: { received: boolean }) => file.received)).toBe(false);
  for (const id of [body.id, other.id]) await server.call("DELETE", `/v1/previews/uploads/${id}`);
  expect(kept()).toEqual([]);
});

describe("a manifest that can't be used", () => {
  const of = (...paths: string[]) => ({
    name: "x",
    files: [...paths, "config.yaml", "samples/1__000000000_0.jpg"].map((path) => ({
      ...{ path, bytes: 1 },
    })),
  });
  test.each([
    "../config.yaml",
    "/etc/passwd.safetensors",
    "a/b.safetensors",
    "samples/../x.jpg",
    "samples/a/b.jpg",
    "samples\\x.jpg",
    "..\\x.safetensors",
    "C:x.safetensors",
    ".hidden.safetensors",
    "samples/.thumbs.jpg",
    "x\0.safetensors",
    "x\u202e.safetensors",
    "optimizer.pt",
    "samples/x.svg",
    "samples/x.html",
    "",
    ".",
    "x.safetensors.",
    `${"x".repeat(300)}.safetensors`,
  ])("for the name %j", async (path) => {
    const { status, body } = await begin(of(path));
    expect(status).toBe(422);
    expect(body.detail[0].loc).toEqual(["body", "files", 0, "path"]);
  });

  test.each<[string, unknown, (string | number)[]]>([
    ["no body", undefined, ["body"]],
    ["no files", { name: "x" }, ["body", "files"]],
    ["an empty list", { name: "x", files: [] }, ["body", "files"]],
    [
      "no configuration",
      { name: "x", files: [{ path: "samples/a.jpg", bytes: 1 }] },
      ["body", "files"],
    ],
    ["no previews", { name: "x", files: [{ path: "config.yaml", bytes: 1 }] }, ["body", "files"]],
    ["one name twice", of("a.safetensors", "A.safetensors"), ["body", "files", 1, "path"]],
    [
      "a configuration that is too long",
      {
        name: "x",
        files: [
          { path: "config.yaml", bytes: largestConfig + 1 },
          { path: "samples/a.jpg", bytes: 1 },
        ],
      },
      ["body", "files", 0, "bytes"],
    ],
    [
      "a length below zero",
      {
        name: "x",
        files: [
          { path: "config.yaml", bytes: -1 },
          { path: "samples/a.jpg", bytes: 1 },
        ],
      },
      ["body", "files", 0, "bytes"],
    ],
    [
      "a hash that is none",
      {
        name: "x",
        files: [
          { path: "config.yaml", bytes: 1, sha256: "../x" },
          { path: "samples/a.jpg", bytes: 1 },
        ],
      },
      ["body", "files", 0, "sha256"],
    ],
  ])("%s", async (_, body, loc) => {
    const answer = await begin(body);
    expect(answer.status).toBe(422);
    expect(answer.body.detail[0].loc).toEqual(loc);
  });

  test("10,000 files", async () => {
    const names = Array.from({ length: 10_000 }, (_, i) => `samples/${i}.jpg`);
    const files = names.map((path) => ({ path, bytes: 1 }));
    const { status, body } = await begin({ name: "x", files });
    expect([status, body.detail[0].type]).toEqual([422, "too_long"]);
    expect(JSON.stringify(body).length).toBeLessThan(1000);
  });

  test("10,000 wrong names, as many as the body's bound lets in", async () => {
    const files = Array.from({ length: 5000 }, (_, i) => ({ path: `../${i}`, bytes: 1 }));
    const { status, body } = await begin({ name: "x", files });
    expect([status, body.detail.length]).toEqual([422, 20]);
  });
});

describe("what is not what the manifest says is refused, and nothing stays", () => {
  const lying = async (lie: Partial<{ bytes: number; sha256: string | null }>, file: JobFile) => {
    const manifest = manifestOf([config, preview, loras[0]!]);
    const files = manifest.files.map((one) => (one.path === file.path ? { ...one, ...lie } : one));
    const { body } = await begin({ ...manifest, files });
    const answer = await putFile(server, body.id, file);
    await server.call("DELETE", `/v1/previews/uploads/${body.id}`);
    expect(kept()).toEqual([]);
    return answer;
  };
  test.each<[string, Parameters<typeof lying>[0], JobFile]>([
    ["another hash", { sha256: "0".repeat(64) }, preview],
    ["a length that is too small", { bytes: 5 }, preview],
    ["a length that is too large", { bytes: preview.content.length + 1 }, preview],
    ["a LoRA's length", { bytes: 100, sha256: null }, loras[0]!],
  ])("%s", async (_, lie, file) => {
    const answer = await lying(lie, file);
    expect(codeOf(answer)).toBe("400 UPLOAD_MISMATCH");
    expect(answer.body.detail.error.message).toContain(file.path);
  });

  const sent = async (file: JobFile) => {
    const others = [config, preview].filter(({ path }) => path !== file.path);
    const { body } = await begin(manifestOf([file, ...others]));
    const answer = await putFile(server, body.id, file);
    await server.call("DELETE", `/v1/previews/uploads/${body.id}`);
    expect(kept()).toEqual([]);
    return answer;
  };
  const bomb = `a: &a [${"1,".repeat(30)}1]\n${Array.from({ length: 26 }, (_, i) => {
    const [from, to] = [String.fromCharCode(97 + i), String.fromCharCode(98 + i)];
    return `${to}: &${to} [${Array(10).fill(`*${from}`).join(",")}]`;
  })
    .slice(0, 24)
    .join("\n")}`;
  test.each<[string, JobFile]>([
    [
      "a LoRA that is a web page",
      { path: "x.safetensors", content: Buffer.from("<!doctype html> private words") },
    ],
    [
      "a LoRA that is cut",
      { path: "x.safetensors", content: loras[0]!.content.subarray(0, 50_000) },
    ],
    ["a configuration of aliases", { path: "config.yaml", content: Buffer.from(bomb) }],
    [
      "a configuration that leads back to itself",
      { path: "config.yaml", content: Buffer.from("config: &a {name: x, process: [*a]}") },
    ],
    [
      "a configuration of another trainer",
      { path: "config.yaml", content: Buffer.from("private: words") },
    ],
    [
      "a configuration of another model",
      {
        path: "config.yaml",
        content: Buffer.from(config.content.toString().replace("arch: zimage", "arch: flux")),
      },
    ],
    ["no text", { path: "config.yaml", content: Buffer.from([0, 1, 2, 0xff]) }],
    ["nothing", { path: "config.yaml", content: Buffer.alloc(0) }],
    ["a deep configuration", { path: "config.yaml", content: Buffer.from("[".repeat(100_000)) }],
  ])("%s", async (_, file) => {
    const answer = await sent(file);
    expect(codeOf(answer)).toBe("400 FILE_NOT_USABLE");
    expect(answer.body.detail.error.message).not.toMatch(/retake-job-uploads|\.tmp|private words/);
  });

  test("a long configuration, and one of the trainer's page, are no such thing", async () => {
    const long = Buffer.concat([config.content, Buffer.alloc(3_000_000, "# a comment\n")]);
    const json = JSON.stringify(parse(config.content.toString()), null, "\t");
    for (const own of [
      { path: "config.yaml", content: long },
      { path: ".job_config.json", content: Buffer.from(json) },
    ]) {
      const { body } = await begin(manifestOf([own, preview]));
      expect((await putFile(server, body.id, own)).status).toBe(204);
      const path = `/v1/previews/uploads/${body.id}`;
      expect((await server.call("GET", path)).body.model).toBe("zimage");
      await server.call("DELETE", path);
    }
  });

  test("another content for a file that has come", async () => {
    const files = [config, { ...preview, content: Buffer.from("a") }];
    const manifest = manifestOf(files);
    const open = manifest.files.map(({ sha256: _, ...file }) => file);
    const { body } = await begin({ ...manifest, files: open });
    await putFile(server, body.id, files[1]!);
    const again = await putFile(server, body.id, { ...preview, content: Buffer.from("b") });
    expect(codeOf(again)).toBe("409 FILE_THERE");
    await server.call("DELETE", `/v1/previews/uploads/${body.id}`);
    expect(kept()).toEqual([]);
  });

  test("a file that the manifest does not name, and a compressed one", async () => {
    const { body } = await begin(manifestOf([config, preview]));
    for (const path of ["x.safetensors", "..%2f..%2fx", "samples/..%2fconfig.yaml", ""]) {
      const answer = await putFile(server, body.id, { path, content: Buffer.from("x") });
      expect([404, 405]).toContain(answer.status);
    }
    const zipped = await putFile(server, body.id, preview, { "content-encoding": "gzip" });
    expect(codeOf(zipped)).toBe("415 UNSUPPORTED_MEDIA_TYPE");
    await server.call("DELETE", `/v1/previews/uploads/${body.id}`);
    expect(kept()).toEqual([]);
  });

  test("an upload that is cut in the middle", async () => {
    const { body } = await begin(manifestOf([config, preview, loras[0]!]));
    const client = new RawClient(server.url);
    const { path, content } = loras[0]!;
    const head = `PUT /v1/previews/uploads/${body.id}/files/${path} HTTP/1.1\r\nHost: localhost`;
    await client.send(`${head}\r\nContent-Length: ${content.length}\r\n\r\n`);
    await client.send(content.subarray(0, 1000));
    while (kept().length < 1) await new Promise((done) => setTimeout(done, 20));
    client.drop();
    while (kept().length > 0) await new Promise((done) => setTimeout(done, 20));
    const { body: after } = await server.call("GET", `/v1/previews/uploads/${body.id}`);
    expect(after.files.some((file: { received: boolean }) => file.received)).toBe(false);
    expect((await putFile(server, body.id, loras[0]!)).status).toBe(204);
    await server.call("DELETE", `/v1/previews/uploads/${body.id}`);
  });
});

test("uploads have one bound with LoRAs, and manifests one of their own", async () => {
  const own = join(folder, "bounded");
  const limit = String(files.reduce((sum, { content }) => sum + content.length, 0) - 1);
  const bounded = await TestServer.start(own, { RETAKE_MAX_UPLOADS: limit, DEVICE: "none" });
  const begun = await bounded.call("POST", "/v1/previews/uploads", manifestOf(files));
  expect(codeOf(begun)).toBe("507 UPLOADS_FULL");
  expect((await bounded.call("GET", "/v1/previews/uploads")).body.uploads).toEqual([]);
  const small = manifestOf([config, preview]);
  for (let i = 0; i < 50; i++)
    expect((await bounded.call("POST", "/v1/previews/uploads", small)).status).toBe(201);
  const more = await bounded.call("POST", "/v1/previews/uploads", small);
  expect(codeOf(more)).toBe("409 TOO_MANY_JOB_UPLOADS");
  await bounded.stop();
});

test("a killed server goes on with the files that are missing", async () => {
  const own = join(folder, "killed");
  const first = await ServerProcess.start(own, { DEVICE: "none" });
  const { body } = await first.call("POST", "/v1/previews/uploads", manifestOf(files));
  await putFile(first, body.id, loras[0]!);
  await first.kill();
  const second = await ServerProcess.start(own, { DEVICE: "none" });
  const { body: upload } = await second.call("GET", `/v1/previews/uploads/${body.id}`);
  const missing = upload.files.filter((file: { received: boolean }) => !file.received);
  expect(missing).toHaveLength(files.length - 1);
  for (const { path } of missing)
    await putFile(second, body.id, files.find((file) => file.path === path)!);
  const asked = await second.call("POST", "/v1/previews", { upload: body.id });
  expect(asked.status).toBe(200);
  await second.stop();
});

test("with keys a folder is its key's alone", async () => {
  const keys = join(folder, "keys.json");
  const secrets = { alice: await addApiKey(keys, "alice"), bob: await addApiKey(keys, "bob") };
  const friend = "https://friend.example";
  const env = { RETAKE_API_KEYS: keys, DEVICE: "none", RETAKE_CORS_ORIGINS: friend };
  const guarded = await TestServer.start(join(folder, "guarded"), env);
  const as = (name: "alice" | "bob") => ({ authorization: `Bearer ${secrets[name]}` });
  const id = await uploadJob(guarded, files, as("alice"));
  const path = `/v1/previews/uploads/${id}`;
  // A browser asks first, without the key, whether an allowed page may.
  for (const method of ["PUT", "DELETE"]) {
    const asking = { origin: friend, "access-control-request-method": method };
    const { status, headers } = await guarded.call("OPTIONS", path, undefined, asking);
    expect([status, headers.get("access-control-allow-origin")]).toEqual([204, friend]);
    expect(headers.get("access-control-allow-methods")).toContain(method);
  }
  for (const method of ["GET", "DELETE"])
    expect(codeOf(await guarded.call(method, path, undefined, as("bob")))).toBe(
      "404 JOB_UPLOAD_NOT_FOUND",
    );
  expect((await putFile(guarded, id, preview, as("bob"))).status).toBe(404);
  const stolen = await guarded.call("POST", "/v1/previews", { upload: id }, as("bob"));
  expect(codeOf(stolen)).toBe("404 JOB_UPLOAD_NOT_FOUND");
  const { body } = await guarded.call("GET", "/v1/previews/uploads", undefined, as("bob"));
  expect(body.uploads).toEqual([]);
  // A hash tells nobody what another has.
  const begun = await guarded.call("POST", "/v1/previews/uploads", manifestOf(files), as("bob"));
  expect(begun.body.files.some((file: { received: boolean }) => file.received)).toBe(false);
  expect((await guarded.call("POST", "/v1/previews", { upload: id })).status).toBe(401);
  expect((await guarded.call("GET", path, undefined, as("alice"))).body.complete).toBe(true);
  await guarded.stop();
});
