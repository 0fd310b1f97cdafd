import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { Lock } from "../src/files/lock.ts";
import { lora, sendFile, site, temporaryCache } from "./lora-site.ts";
import { hasNamespaces, ScriptProcess } from "./processes.ts";

// Processes that share files, as two containers with one volume do: each in a network of its own. Where that is not
// allowed (it takes root or user namespaces, and Linux), they run in one, and the name of the test says so.
const place = hasNamespaces
  ? "in two network namespaces"
  : "in one network namespace: unshare(1) is not allowed here";
const other = hasNamespaces ? "own" : "shared";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-locks-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
});

const openQueue = `
  import { openEmbedded } from "./src/queue/database.ts";
  const database = await openEmbedded(args[0]).catch(({ name, message }) => {
    process.stdout.write(name + ": " + message);
    process.exit(2);
  });
  await database.query("CREATE TABLE IF NOT EXISTS kept (n int)");
  await database.query("INSERT INTO kept VALUES (1)");
  const [{ count }] = await database.query("SELECT count(*)::int AS count FROM kept");
  process.stdout.write("open with " + count);`;
const untilKilled = "setInterval(() => {}, 1000);";

describe(`two processes ${place}`, () => {
  test("one queue folder is for one of them; after a kill it is free at once", async () => {
    const first = new ScriptProcess(openQueue + untilKilled, [folder]);
    await first.printed();
    const second = new ScriptProcess(openQueue, [folder], other);
    expect(await second.ended()).toMatchObject({
      code: 2,
      stdout: expect.stringMatching(/^InputError: .*is open in another process.*RETAKE_DATA/),
    });
    await first.kill();
    const third = new ScriptProcess(`${openQueue} await database.close();`, [folder], other);
    expect(await third.ended()).toEqual({ code: 0, stdout: "open with 2", stderr: "" });
  });

  test("who lost the queue folder to another writes nothing more to it", async () => {
    const until = `
      const wait = (ms) => new Promise((done) => setTimeout(done, ms));
      for (;;) {
        const error = await database.query("INSERT INTO kept VALUES (1)").then(() => wait(20), (e) => e);
        if (error === undefined) continue;
        await database.close();
        process.stdout.write(", then " + error.name + ": " + error.message);
        break;
      }`;
    const first = new ScriptProcess(openQueue + until, [folder]);
    await first.printed();
    let lock: Lock | undefined;
    while (lock === undefined) {
      rmSync(join(folder, "queue.lock"), { force: true });
      lock = Lock.tryTake(join(folder, "queue"));
    }
    const { code, stdout } = await first.ended();
    expect(stdout).toMatch(/^open with 1, then LockLostError: .*another process took the lock/);
    expect(code).toBe(0);
    expect(existsSync(join(folder, "queue.lock"))).toBe(true);
    lock.release();
  });

  test("a derived file is made by one; after a kill the next goes on at once", async () => {
    const source = join(folder, "source");
    const cache = join(folder, "cache");
    writeFileSync(source, "weights");
    const derive = `
      import { openDerived } from "./src/weights/derived-file.ts";
      const [source, cacheFolder, waits] = args;
      const { file } = await openDerived({
        cacheFolder,
        kind: "test",
        sources: [source],
        tensors: new Map([["a", { dtype: "F32", shape: [1] }]]),
        async fill(write) {
          process.stdout.write("making ");
          if (waits === "for ever") await new Promise(() => setInterval(() => {}, 1000));
          await write("a", 0, new Uint8Array(4));
        },
      }, {});
      process.stdout.write("has it");`;
    const first = new ScriptProcess(derive, [source, cache, "for ever"]);
    await first.printed();
    const part = readdirSync(cache).filter((name) => name.endsWith(".part"));
    const second = new ScriptProcess(derive, [source, cache], other);
    const third = new ScriptProcess(derive, [source, cache]);
    // Long enough for both to ask many times: the lock is what holds them.
    await Promise.race([second.printed(), third.printed(), wait(1500)]);
    expect(readdirSync(cache).filter((name) => name.endsWith(".part"))).toEqual(part);
    await first.kill();
    const ends = await Promise.all([second.ended(), third.ended()]);
    expect(ends.map(({ stdout }) => stdout).toSorted()).toEqual(["has it", "making has it"]);
    expect(readdirSync(cache)).toHaveLength(1);
  });
});

describe(`a download ${place}`, () => {
  const { folder: cacheFolder, list, get, settings } = temporaryCache();
  const resolve = `
    import { resolveLoraSource } from "./src/lora-files/resolve.ts";
    const [url, settings] = args;
    const signal = new AbortController().signal;
    process.stdout.write("asking ");
    const { file } = await resolveLoraSource(url, JSON.parse(settings), { signal, onProgress() {} });
    process.stdout.write(file);`;

  test("one who can't reach the site has the file that another brought", async () => {
    let finish = () => {};
    const { url, requests } = await site((request, response) => {
      finish = () => sendFile(request, response);
    });
    const here = get(url);
    while (requests.length === 0) await wait(10);
    const there = new ScriptProcess(resolve, [url, JSON.stringify(settings())], other);
    await there.printed();
    finish();
    const { file } = await here;
    expect(await there.ended()).toEqual({ code: 0, stdout: `asking ${file}`, stderr: "" });
    expect(requests).toHaveLength(1);
    expect(readFileSync(file).equals(lora)).toBe(true);
  });

  test("after a kill the next goes on at once", async () => {
    const half = lora.length >> 1;
    const { url, requests } = await site((request, response, count) => {
      if (count > 1) return sendFile(request, response);
      response.writeHead(200, { etag: '"v1"', "content-length": lora.length });
      response.write(lora.subarray(0, half));
    });
    const first = new ScriptProcess(resolve, [url, JSON.stringify(settings())]);
    const part = () => list().find((name) => name.endsWith(".part"));
    const received = () => {
      const name = part();
      return name === undefined ? 0 : readFileSync(join(cacheFolder(), name)).length;
    };
    while (received() < half) await wait(20);
    const waiting = get(url);
    await first.kill();
    expect(readFileSync((await waiting).file).equals(lora)).toBe(true);
    expect(requests.map(({ headers }) => headers.range)).toEqual([undefined, `bytes=${half}-`]);
    expect(list()).toHaveLength(1);
  });

  test("one who lost the lock leaves another's part alone", async () => {
    let closed: Promise<unknown> | undefined;
    const { url } = await site((request, response, count) => {
      if (count > 1) return sendFile(request, response);
      closed = once(response, "close");
      response.writeHead(200, { etag: '"v1"', "content-length": lora.length });
      response.write(lora.subarray(0, lora.length >> 1));
    });
    const waiting = get(url);
    const find = () => list().find((name) => name.endsWith(".part"));
    while (find() === undefined) await wait(10);
    const part = join(cacheFolder(), find()!);
    const path = part.slice(0, -".part".length);
    rmSync(`${path}.lock`);
    const lock = Lock.tryTake(path);
    rmSync(part);
    writeFileSync(part, "another's");
    await closed;
    expect(readFileSync(part, "utf8")).toBe("another's");
    lock!.release();
    expect(readFileSync((await waiting).file).equals(lora)).toBe(true);
  });

  test("a cache folder that is deleted in the middle of it costs another turn", async () => {
    const { url, requests } = await site((request, response, count) => {
      if (count > 1) return sendFile(request, response);
      response.writeHead(200, { etag: '"v1"', "content-length": lora.length });
      response.write(lora.subarray(0, lora.length >> 1));
    });
    const waiting = get(url);
    while (!list().some((name) => name.endsWith(".part"))) await wait(10);
    rmSync(cacheFolder(), { recursive: true, maxRetries: 10 });
    const { file } = await waiting;
    expect(readFileSync(file).equals(lora)).toBe(true);
    expect(requests).toHaveLength(2);
    expect(existsSync(`${file}.lock`)).toBe(false);
  });
});
