import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Command } from "commander";
import { demoRequest } from "../test/caller.ts";
import { ServerProcess } from "../test/server-process.ts";

// Many clients at once against one server on the demonstration checkpoint.
//   node bench/load.ts --clients 200 --seconds 300

const options = new Command("load")
  .option("--clients <count>", "clients that submit and poll", "200")
  .option("--seconds <count>", "how long they do", "300")
  .option("--poll <seconds>", "between two questions of one client", "1")
  .option(
    "--out <file>",
    "where the results go",
    fileURLToPath(new URL("results/load.json", import.meta.url)),
  )
  .parse()
  .opts<{ clients: string; seconds: string; poll: string; out: string }>();

const folder = mkdtempSync(join(tmpdir(), "retake-load-"));
const server = await ServerProcess.start(folder, { RETAKE_LOG_LEVEL: "warn" });
const endsAt = performance.now() + Number(options.seconds) * 1000;

const statusMilliseconds: number[] = [];
const submitMilliseconds: number[] = [];
const accepted: string[] = [];
let refused = 0;

async function timed<Answer>(into: number[], call: () => Promise<Answer>): Promise<Answer> {
  const startedAt = performance.now();
  const answer = await call();
  into.push(performance.now() - startedAt);
  return answer;
}

const pause = (seconds: number) => new Promise((done) => setTimeout(done, seconds * 1000));

/** Submits, polls until the request has ended, and begins again. */
async function client(): Promise<void> {
  const poll = Number(options.poll);
  await pause(Math.random() * poll);
  while (performance.now() < endsAt) {
    const answer = await timed(submitMilliseconds, () =>
      server.call("POST", "/v1/inference", demoRequest({}, { sample_steps: 2 })),
    );
    if (answer.status !== 200) {
      refused++;
      await pause(poll);
      continue;
    }
    const id: string = answer.body.request_id;
    accepted.push(id);
    while (performance.now() < endsAt) {
      await pause(poll);
      const { body } = await timed(statusMilliseconds, () =>
        server.call("GET", `/v1/requests/${id}/status`),
      );
      if (body.status === "succeeded" || body.status === "failed") break;
    }
  }
}

/** Resident memory of the server, and of its children: its worker. In MiB. */
async function memory(): Promise<{ server: number; worker: number }> {
  const { stdout } = await promisify(execFile)("ps", ["-A", "-o", "pid=,ppid=,rss="]);
  const rows = stdout.trim().split("\n");
  const processes = rows.map((row) => row.trim().split(/\s+/).map(Number));
  const mib = (found: (pid: number, parent: number) => boolean) =>
    Math.round(
      processes
        .filter(([pid, parent]) => found(pid!, parent!))
        .reduce((sum, [, , kib]) => sum + kib! / 1024, 0),
    );
  return {
    server: mib((pid) => pid === server.pid),
    worker: mib((_, parent) => parent === server.pid),
  };
}

const memoryMiB: { server: number[]; worker: number[] } = { server: [], worker: [] };
let failedSamples = 0;
const sampling = setInterval(() => {
  memory().then(
    (mib) => {
      memoryMiB.server.push(mib.server);
      memoryMiB.worker.push(mib.worker);
    },
    () => failedSamples++,
  );
}, 10_000);
await Promise.all(Array.from({ length: Number(options.clients) }, client));
clearInterval(sampling);

// Whatever was accepted ends, once, with its one picture.
const states: Record<string, number> = {};
for (const id of accepted) {
  const { status, outputs } = await server.ended(id, 600);
  states[status] = (states[status] ?? 0) + 1;
  if (status === "succeeded" && outputs.images.length !== 1)
    throw new Error(`${id} has ${outputs.images.length} pictures`);
}
const files = readdirSync(join(folder, "out")).length;

function percentiles(values: number[]): object {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number) =>
    Number(
      (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0).toFixed(1),
    );
  return { count: sorted.length, p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) };
}

const result = {
  machine: { cpu: cpus()[0]?.model.trim(), cores: cpus().length, node: process.version },
  clients: Number(options.clients),
  seconds: Number(options.seconds),
  accepted: accepted.length,
  distinct: new Set(accepted).size,
  refused,
  states,
  files,
  statusMilliseconds: percentiles(statusMilliseconds),
  submitMilliseconds: percentiles(submitMilliseconds),
  serverMemoryMiB: memoryMiB.server,
  workerMemoryMiB: memoryMiB.worker,
  failedSamples,
};
await server.stop();
rmSync(folder, { recursive: true });
writeFileSync(options.out, `${JSON.stringify(result, null, 2)}\n`);
process.stdout.write(`${JSON.stringify(result)}\n`);
