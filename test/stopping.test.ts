import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { demoRequest } from "./caller.ts";
import { HeldConnections } from "./held-connections.ts";
import { ServerProcess } from "./server-process.ts";

const folder = mkdtempSync(join(tmpdir(), "retake-stopping-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Submits requests and waits until the first of them runs. */
async function busyServer(name: string, requests: number, prompt: object) {
  const own = join(folder, name);
  const server = await ServerProcess.start(own);
  const ids: string[] = [];
  for (let i = 0; i < requests; i++) {
    const { body } = await server.call("POST", "/v1/inference", demoRequest({}, prompt));
    ids.push(body.request_id);
  }
  await server.logged('"started"');
  return { own, server, ids };
}

/** The server's log lines after it was told to stop. */
function linesAfterStop({ log }: ServerProcess): string[] {
  const lines = log.split("\n");
  return lines.slice(lines.findIndex((line) => line.includes('"msg":"stopping"')) + 1);
}

test("a stop starts nothing new and waits for no connection; what waited runs after the next start", async () => {
  const prompt = { width: 128, height: 128, sample_steps: 8 };
  const { own, server, ids } = await busyServer("streams", 6, prompt);
  const held = await HeldConnections.open(server, ids.at(-1)!, 20);
  const startedAt = performance.now();
  expect(await server.stop()).toBe(0);
  expect(performance.now() - startedAt).toBeLessThan(25_000);
  await expect.poll(() => held.open).toBe(0);
  expect(linesAfterStop(server).filter((line) => line.includes('"started"'))).toEqual([]);
  held.drop();
  const next = await ServerProcess.start(own);
  try {
    for (const id of ids) expect((await next.ended(id, 60)).status).toBe("succeeded");
  } finally {
    await next.stop();
  }
}, 300_000);

test("a second signal ends it at once, and its worker in the middle of a step", async () => {
  const { server } = await busyServer("twice", 1, { width: 512, height: 512, sample_steps: 150 });
  await expect.poll(() => workersOf(server).length, { timeout: 30_000 }).toBe(1);
  const [worker] = workersOf(server);
  server.signal("SIGTERM");
  await server.logged('"stopping"');
  server.signal("SIGINT");
  expect(await server.exited()).toBe(130);
  await expect.poll(() => isAlive(worker!)).toBe(false);
}, 300_000);

test("a signal while it starts ends it, and the folder can be opened again", async () => {
  const own = join(folder, "early");
  const early = ServerProcess.spawn(own);
  await expect.poll(() => existsSync(join(own, "data")), { timeout: 30_000 }).toBe(true);
  early.signal("SIGTERM");
  expect(await early.exited()).toBe(0);
  const next = await ServerProcess.start(own);
  expect(await next.stop()).toBe(0);
}, 300_000);

/** Process ids, found as an operator would. */
function workersOf({ pid }: ServerProcess): number[] {
  const task = `/proc/${pid}/task`;
  return readdirSync(task)
    .flatMap((thread) =>
      readFileSync(join(task, thread, "children"), "utf8")
        .trim()
        .split(" "),
    )
    .filter((child) => child !== "")
    .map(Number);
}

/** Not counting one that has exited and whose parent has not asked for it. */
function isAlive(pid: number): boolean {
  const stat = existsSync(`/proc/${pid}/stat`) ? readFileSync(`/proc/${pid}/stat`, "utf8") : "";
  return /\) [^ZX] /.test(stat);
}
