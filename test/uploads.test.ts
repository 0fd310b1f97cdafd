import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { addApiKey } from "../src/http/api-keys.ts";
import { demoRequest } from "./caller.ts";
import { trainedBy } from "./lora-header.ts";
import { lora } from "./lora-site.ts";
import { idOf, keptIn, loraId, octets, postLora, uploadServer, variant } from "./lora-upload.ts";
import { RawClient } from "./raw-client.ts";
import { ServerProcess } from "./server-process.ts";
import { TestServer } from "./test-server.ts";

const { folder, server, post, kept } = await uploadServer();

test("a LoRA is uploaded, described, listed, used by a request, and deleted", async () => {
  const first = await post(lora, octets, "/v1/loras?name=../a/zorple.safetensors");
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
  const second = await post(lora);
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
  expect(result.outputs.images[0].effective.loras[0].sha256).toBe(loraId);
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

test("profile preview is resolved where the upload's header is read, and its era is told", async () => {
  const { body: uploaded } = await post(trainedBy(lora, "0.9.20"), octets);
  const prompts = [{ prompt: "x", width: 64, height: 80, sample_steps: 2, guidance_scale: 2 }];
  const loras = [{ path: uploaded.path }];
  const effectiveOf = async (fields: object) => {
    const request = demoRequest({ loras, prompts, ...fields });
    const { body } = await server.call("POST", "/v1/inference", request);
    return (await server.ended(body.request_id)).outputs.images[0].effective;
  };
  expect(await effectiveOf({ profile: "preview" })).toMatchObject({
    profile: "preview-0.9.14",
    profile_asked: "preview",
    profile_reason: "the LoRA was trained with ai-toolkit 0.9.20",
    height: 80,
    warnings: [],
  });
  expect(await effectiveOf({ profile: "preview-0.10.21" })).toMatchObject({
    profile: "preview-0.10.21",
    standard_cfg: 2,
    warnings: [expect.stringContaining('"profile": "preview-0.9.14"')],
  });
  expect(await effectiveOf({})).toMatchObject({ profile: "reference", height: 64 });
  expect((await server.call("DELETE", `/v1/loras/${uploaded.id}`)).status).toBe(204);
});

test("the documented curl uploads", async () => {
  const root = fileURLToPath(new URL("..", import.meta.url));
  const page = readFileSync(join(root, "docs", "server.md"), "utf8");
  const command = /^curl 'http:\/\/127\.0\.0\.1:8000\/v1\/loras.*$/m.exec(page)![0];
  const here = command.replace("http://127.0.0.1:8000", server.url);
  const run = promisify(execFile)("sh", ["-c", `${here} --silent`], { cwd: root });
  expect(JSON.parse((await run).stdout)).toMatchObject({ id: loraId, name: "zorple" });
  await server.call("DELETE", `/v1/loras/${loraId}`);
});

test("a form as browsers send it; its field goes before the file's name", async () => {
  const form = new FormData();
  form.set("file", new Blob([lora]), "C:\\loras\\mine \u202e.safetensors");
  const first = await post(form);
  expect([first.status, first.body.name]).toEqual([201, "mine .safetensors"]);
  await server.call("DELETE", `/v1/loras/${loraId}`);
  form.set("name", "better");
  expect((await post(form)).body.name).toBe("better");
  await server.call("DELETE", `/v1/loras/${loraId}`);
  expect(kept()).toEqual([]);
});

test("uploads are listed in pages, newest first", async () => {
  const all = [variant("1"), variant("2"), variant("3")];
  for (const content of all) expect((await post(content)).status).toBe(201);
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
  await post(lora);
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

test("eight uploads of one file at once are one file", async () => {
  const answers = await Promise.all(Array.from({ length: 8 }, () => post(lora)));
  const statuses = answers.map(({ status }) => status).sort();
  expect(statuses).toEqual([...Array(7).fill(200), 201]);
  expect(kept()).toEqual([`upload-${loraId}.safetensors`]);
  await server.call("DELETE", `/v1/loras/${loraId}`);
});

test("inspect says what a path or link leads to, and refuses what a request could not name", async () => {
  const inspect = (path: string) =>
    server.call("GET", `/v1/loras/inspect?path=${encodeURIComponent(path)}`);
  expect((await inspect("zorple.safetensors")).body.description.sha256).toBe(loraId);
  await post(lora);
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

test("a killed server: what was received is gone, what was kept is there", async () => {
  const own = join(folder, "killed");
  const first = await ServerProcess.start(own);
  expect((await postLora(first, lora, octets)).status).toBe(201);
  const client = new RawClient(first.url);
  const length = `Content-Length: ${lora.length}`;
  await client.send(`POST /v1/loras HTTP/1.1\r\nHost: localhost\r\n${length}\r\n\r\n`);
  await client.send(lora.subarray(0, 1000));
  while (keptIn(own).length < 2) await new Promise((done) => setTimeout(done, 20));
  await first.kill();
  const second = await ServerProcess.start(own);
  expect(keptIn(own)).toEqual([`upload-${loraId}.safetensors`]);
  const { body } = await second.call("GET", "/v1/loras");
  expect(body.loras.map(({ id }: { id: string }) => id)).toEqual([loraId]);
  const request = demoRequest({ loras: [{ path: `upload:${loraId}` }] });
  const { body: job } = await second.call("POST", "/v1/inference", request);
  expect((await second.ended(job.request_id)).status).toBe("succeeded");
  await second.stop();
});

test("all uploads together have a bound", async () => {
  const own = join(folder, "bounded");
  const limit = String(Math.floor(lora.length * 1.5));
  const bounded = await TestServer.start(own, { RETAKE_MAX_UPLOADS: limit });
  expect((await postLora(bounded, lora, octets)).status).toBe(201);
  const full = await postLora(bounded, variant("x"), octets);
  expect([full.status, full.body.detail.error.code]).toEqual([507, "UPLOADS_FULL"]);
  expect(keptIn(own)).toEqual([`upload-${loraId}.safetensors`]);
  await bounded.call("DELETE", `/v1/loras/${loraId}`);
  expect((await postLora(bounded, variant("x"), octets)).status).toBe(201);
  await bounded.stop();
});

// Mounting a small disk needs root.
test.skipIf(process.getuid?.() !== 0 || process.platform !== "linux")(
  "a full disk is said, and leaves nothing",
  async () => {
    const own = join(folder, "full");
    const uploads = join(own, "data", "uploads");
    mkdirSync(uploads, { recursive: true });
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", uploads]);
    try {
      const small = await TestServer.start(own);
      const { status, body } = await postLora(small, lora, octets);
      expect([status, body.detail.error.code]).toEqual([507, "DISK_FULL"]);
      expect(keptIn(own)).toEqual([]);
      expect((await small.call("GET", "/v1/loras")).body.loras).toEqual([]);
      await small.stop();
    } finally {
      execFileSync("umount", ["--lazy", uploads]);
    }
  },
);

describe("with API keys", () => {
  let guarded: TestServer;
  const secrets: Record<string, string> = {};
  beforeAll(async () => {
    const keys = join(folder, "keys.json");
    for (const name of ["alice", "bob"]) secrets[name] = await addApiKey(keys, name, undefined);
    guarded = await TestServer.start(join(folder, "guarded"), { RETAKE_API_KEYS: keys });
  });
  afterAll(() => guarded.stop());
  const as = (name: string) => ({ authorization: `Bearer ${secrets[name]}` });

  test("nobody uploads without one; owners neither see nor use nor delete each other's", async () => {
    const refused = await postLora(guarded, lora, octets);
    expect(refused.status).toBe(401);
    expect((await postLora(guarded, lora, { ...octets, ...as("alice") })).status).toBe(201);
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
    expect((await postLora(guarded, lora, { ...octets, ...as("bob") })).status).toBe(201);
    const file = join(folder, "guarded", "data", "uploads", `upload-${loraId}.safetensors`);
    expect((await guarded.call("DELETE", path, undefined, as("alice"))).status).toBe(204);
    expect(existsSync(file)).toBe(true);
    expect((await guarded.call("GET", path, undefined, as("alice"))).status).toBe(404);
    expect((await guarded.call("DELETE", path, undefined, as("bob"))).status).toBe(204);
    expect(existsSync(file)).toBe(false);
  });
});
