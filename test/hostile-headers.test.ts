import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { CanceledError } from "../src/errors.ts";
import { describeInThread } from "../src/lora-files/describe.ts";
import { admit, BusyError } from "../src/lora-files/turns.ts";
import { readSafetensors } from "../src/weights/safetensors.ts";
import { goldenFolder } from "./golden.ts";
import { lora, site, temporaryCache } from "./lora-site.ts";
import { TestServer } from "./test-server.ts";

/** A safetensors file of a header, filled with spaces to a length, and data. */
function fileOf(header: object, data: Uint8Array = new Uint8Array(), length = 0): Buffer {
  const text = Buffer.from(JSON.stringify(header).padEnd(length));
  const start = Buffer.alloc(8);
  start.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([start, text, data]);
}

const most = 2 ** 24;

/** As many tensors as 16 MiB of header describe. */
function manyTensors(): Buffer {
  const entry = { dtype: "F32", shape: [0], data_offsets: [0, 0] };
  const count = 295_177;
  return fileOf(
    Object.fromEntries(Array.from({ length: count }, (_, i) => [i.toString(36), entry])),
  );
}

/** The demonstration's LoRA with as much metadata as a header may have. */
function longMetadata(): Buffer {
  const length = Number(lora.readBigUInt64LE(0));
  const header = JSON.parse(lora.subarray(8, 8 + length).toString());
  const tags = "a tag, ".repeat(most / 7 - 20_000);
  header.__metadata__ = { ...header.__metadata__, tags };
  return fileOf(header, lora.subarray(8 + length), most);
}

/** A small LoRA of so many modules that to measure them takes seconds. */
function manyModules(): Buffer {
  const header: Record<string, object> = {};
  let at = 0;
  for (let layer = 0; layer < 1000; layer++) {
    for (const module of ["to_q", "to_k", "to_v", "to_out.0"]) {
      for (const part of ["lora_A", "lora_B"]) {
        const name = `transformer.layers.${layer}.attention.${module}.${part}.weight`;
        header[name] = { dtype: "F32", shape: [1, 1], data_offsets: [at, at + 4] };
        at += 4;
      }
    }
  }
  return fileOf(header, Buffer.from(new Float32Array(at / 4).fill(1).buffer));
}

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-hostile-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, content: Uint8Array): string {
  const path = join(folder, `${name}.safetensors`);
  writeFileSync(path, content);
  return path;
}

/** Milliseconds of this thread's own work: other processes don't count. */
async function ownWork(work: () => Promise<unknown>): Promise<number> {
  const before = process.threadCpuUsage();
  await work();
  const { user, system } = process.threadCpuUsage(before);
  return (user + system) / 1000;
}

describe("the headers of strangers' files are not read on the server's thread", () => {
  const { get: resolve, list } = temporaryCache();

  test("a link to 295,177 tensors", async () => {
    const content = manyTensors();
    const path = write("many", content);
    const parsed = await ownWork(() => readSafetensors(path));
    const { url } = await site((_, response) => response.end(content));
    const work = await ownWork(() =>
      expect(resolve(url)).rejects.toThrow(
        /^http:\/\/127\.0\.0\.1:\d+\/ can't be used as a LoRA: its header has 295177 tensors, and 20000 is the most\. Name/,
      ),
    );
    // Which is what it takes to send and receive 16 MB.
    expect(work).toBeLessThan(parsed / 2);
    expect(list()).toEqual([]);
  }, 60_000);

  test("a cached one is not read at all, until it is another one", async () => {
    const content = longMetadata();
    const path = write("long", content);
    const parsed = await ownWork(() => readSafetensors(path));
    let sent = 0;
    const { url } = await site((_, response) => {
      sent++;
      response.end(content);
    });
    const { file } = await resolve(url);
    expect(await resolve(url)).toEqual({ file, cached: true });
    const work = await ownWork(() => resolve(url));
    expect(work).toBeLessThan(parsed / 2);
    expect(sent).toBe(1);
    // As long as before, at another time, and damaged.
    const damaged = Buffer.from(content);
    damaged[8] = 0;
    writeFileSync(file, damaged);
    expect(await resolve(url)).toEqual({ file, cached: false });
    expect(readFileSync(file).equals(content)).toBe(true);
    expect(sent).toBe(2);
  }, 60_000);
});

describe("descriptions", () => {
  const signal = new AbortController().signal;

  test("nobody waits for one client's, and those that nobody waits for end", async () => {
    const slow = write("slow", manyModules());
    const whole = await describeInThread(slow, "slow", { client: "c", signal });
    expect(whole.modules).toBe(4000);
    const quick = write("quick", lora);
    const gone = new AbortController();
    const ended: string[] = [];
    const asked = Array.from({ length: 8 }, () =>
      describeInThread(slow, "slow", { client: "a", signal: gone.signal }).catch(
        (error: unknown) => {
          ended.push("slow");
          return error;
        },
      ),
    );
    await describeInThread(quick, "quick", { client: "b", signal });
    ended.push("b's");
    gone.abort();
    for (const error of await Promise.all(asked)) expect(error).toBeInstanceOf(CanceledError);
    expect(ended).toEqual(["b's", ...Array(8).fill("slow")]);
    await describeInThread(quick, "quick", { client: "a", signal });
  }, 60_000);

  test("clients that hang up leave their places at once", async () => {
    const loras = join(folder, "loras");
    mkdirSync(loras);
    writeFileSync(join(loras, "slow.safetensors"), manyModules());
    writeFileSync(join(loras, "quick.safetensors"), lora);
    const own = { DEVICE: "none", WORKFLOWS_BASE_PATH: loras };
    const server = await TestServer.start(join(folder, "hung-up"), own);
    const gone = new AbortController();
    const slow = new URL("/v1/loras/inspect?path=slow.safetensors", server.url);
    // All that one client may have, the best part of a minute's work.
    const asked = Array.from({ length: 32 }, () => fetch(slow, { signal: gone.signal }));
    const hungUp = Promise.allSettled(asked);
    const isAdmitted = () =>
      admit("127.0.0.1", async () => true).catch((error: unknown) => !(error instanceof BusyError));
    await vi.waitFor(async () => expect(await isAdmitted()).toBe(false), { timeout: 20_000 });
    gone.abort();
    await hungUp;
    await vi.waitFor(async () => expect(await isAdmitted()).toBe(true), { timeout: 20_000 });
    const path = "/v1/loras/inspect?path=quick.safetensors";
    expect((await server.call("GET", path)).status).toBe(200);
    await server.stop();
  }, 60_000);

  test("a PEFT folder is described; no message says where it lies", async () => {
    const loras = join(folder, "peft");
    mkdirSync(loras);
    cpSync(join(goldenFolder, "loras/files/peft"), join(loras, "whole"), { recursive: true });
    cpSync(join(loras, "whole"), join(loras, "broken"), { recursive: true });
    writeFileSync(join(loras, "broken", "adapter_config.json"), "{");
    const own = { DEVICE: "none", WORKFLOWS_BASE_PATH: loras };
    const server = await TestServer.start(join(folder, "peft-server"), own);
    const inspect = (path: string) => server.call("GET", `/v1/loras/inspect?path=${path}`);
    const { status, body } = await inspect("whole");
    expect([status, body.description.format]).toEqual([200, "PEFT"]);
    for (const path of ["broken", "broken/adapter_model.safetensors"]) {
      const refused = await inspect(path);
      expect(refused.status).toBe(400);
      expect(refused.body.detail.error.message).toMatch(/adapter_config\.json/);
      expect(JSON.stringify(refused.body)).not.toContain(folder);
    }
    await server.stop();
  }, 60_000);

  test("a client has a bound, and is told so", async () => {
    const own = join(folder, "server");
    const server = await TestServer.start(own, { DEVICE: "none" });
    const inspect = () => server.call("GET", "/v1/loras/inspect?path=zorple.safetensors");
    let release = () => {};
    const held = new Promise<void>((done) => {
      release = done;
    });
    const places = Array.from({ length: 32 }, () => admit("127.0.0.1", () => held));
    const refused = await inspect();
    expect([refused.status, refused.body.detail.error.code]).toEqual([
      503,
      "TOO_MANY_DESCRIPTIONS",
    ]);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    const octets = { "content-type": "application/octet-stream" };
    expect((await server.call("POST", "/v1/loras", lora, octets)).status).toBe(503);
    expect((await server.call("GET", "/v1/loras")).body.loras).toEqual([]);
    // Another client's are not the first one's.
    await admit("127.0.0.2", async () => {});
    release();
    await Promise.all(places);
    expect((await inspect()).status).toBe(200);
    await server.stop();
  }, 60_000);

  test("a connection serves many inspections and keeps nothing of them", async () => {
    const server = await TestServer.start(join(folder, "connection"), { DEVICE: "none" });
    const warnings: Error[] = [];
    const warn = (warning: Error) => warnings.push(warning);
    process.on("warning", warn);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const url = new URL("/v1/loras/inspect?path=none", server.url);
    const statuses = new Set<number | undefined>();
    for (let i = 0; i < 12; i++) {
      statuses.add(
        await new Promise((done, fail) => {
          get(url, { agent }, (response) => {
            response.resume().once("end", () => done(response.statusCode));
          }).once("error", fail);
        }),
      );
    }
    agent.destroy();
    process.off("warning", warn);
    expect([...statuses]).toEqual([400]);
    expect(warnings).toEqual([]);
    await server.stop();
  }, 60_000);
});
