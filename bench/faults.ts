import { execFileSync } from "node:child_process";
import { randomInt } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import sharp from "sharp";
import { demoRequest } from "../test/caller.ts";
import { HeldConnections } from "../test/held-connections.ts";
import { PostgresServer } from "../test/postgres.ts";
import { ServerProcess } from "../test/server-process.ts";

// Breaks a running server at random moments and checks that nothing it promised is lost.
//   node bench/faults.ts --rounds 20 [--database embedded|postgres] [--only NAME]

const options = new Command("faults")
  .option("--rounds <count>", "times each fault is tried", "20")
  .option("--database <kind>", "embedded or postgres; both if it isn't given")
  .option("--only <fault>", "one fault alone")
  .option("--out <file>", "where the results go")
  .parse()
  .opts<{ rounds: string; database?: string; only?: string; out?: string }>();

/** Requests in the air at each fault, two pictures each. */
const requests = 6;
const longestDelay = 1500;
/** Open event streams at a stop, beside halves of an upload, of a request and of a header. */
const streams = 20;
const mostStopSeconds = 25;

interface Round {
  readonly folder: string;
  readonly env: Record<string, string>;
  readonly postgres: PostgresServer | undefined;
  /** How long each stop took that was measured. */
  readonly stopSeconds: number[];
  server: ServerProcess;
}

/** What breaks; afterwards `round.server` runs. */
const faults: Record<string, (round: Round) => Promise<void>> = {
  async "worker killed"({ server }) {
    killWorkersOf(server.pid);
  },
  async "server killed"(round) {
    await round.server.kill();
    round.server = await ServerProcess.start(round.folder, round.env);
  },
  async "server and worker killed"(round) {
    killWorkersOf(round.server.pid);
    await round.server.kill();
    round.server = await ServerProcess.start(round.folder, round.env);
  },
  async "server stopped and started"(round) {
    await round.server.stop();
    round.server = await ServerProcess.start(round.folder, round.env);
  },
  async "stopped while streaming"(round) {
    const { server } = round;
    await server.logged('"started"');
    const { body } = await server.call("GET", "/v1/requests?limit=1");
    const held = await HeldConnections.open(server, body.requests[0].request_id, streams);
    const startedAt = performance.now();
    const code = await server.stop();
    const seconds = (performance.now() - startedAt) / 1000;
    held.drop();
    round.stopSeconds.push(seconds);
    const lines = server.log.split("\n");
    const after = lines.slice(lines.findIndex((line) => line.includes('"msg":"stopping"')));
    const started = after.filter((line) => line.includes('"started"')).length;
    if (code !== 0 || seconds > mostStopSeconds || started > 0)
      throw new Error(`a stop ended with ${code} after ${seconds} s and began ${started} requests`);
    round.server = await ServerProcess.start(round.folder, round.env);
  },
  async "worker can't be started"({ server }) {
    // A server starts its workers with the program it runs in itself.
    renameSync(process.execPath, `${process.execPath}.away`);
    killWorkersOf(server.pid);
    await server.logged("could not be started");
    renameSync(`${process.execPath}.away`, process.execPath);
    const { body } = await server.call("POST", "/v1/inference", demoRequest());
    const { status } = await server.ended(body.request_id, 120);
    if (status !== "succeeded") throw new Error(`the next request ${status}`);
  },
  async "database restarted"({ postgres }) {
    await postgres?.crash();
    await pause(randomInt(1000));
    await postgres?.boot();
  },
  async "disk full"({ folder }) {
    const out = join(folder, "out");
    // 24 KiB hold a few of the pictures and no more.
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=24k", "tmpfs", out]);
    await pause(1500);
    execFileSync("umount", ["--lazy", out]);
  },
  async "client gone"({ server }) {
    const { body } = await server.call("GET", "/v1/requests?limit=1");
    const gone = new AbortController();
    const url = new URL(`/v1/requests/${body.requests[0].request_id}/events`, server.url);
    const stream = await fetch(url, { signal: gone.signal });
    await stream.body?.getReader().read();
    gone.abort();
  },
};

function killWorkersOf(pid: number): void {
  const task = `/proc/${pid}/task`;
  for (const thread of readdirSync(task)) {
    for (const child of readFileSync(join(task, thread, "children"), "utf8").split(" "))
      if (child.trim() !== "") process.kill(Number(child), "SIGKILL");
  }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((done) => setTimeout(done, milliseconds));
}

interface Tally {
  accepted: number;
  succeeded: number;
  failed: number;
  readonly reasons: Record<string, number>;
}

async function playRound(name: string, round: Round, tally: Tally): Promise<void> {
  const ids: string[] = [];
  const submitting = (async () => {
    for (let i = 0; i < requests; i++) {
      const prompt = { prompt: "a star", width: 128, height: 128, sample_steps: 12 };
      const answer = await round.server
        .call("POST", "/v1/inference", demoRequest({ prompts: [prompt, prompt] }))
        // A server that is down accepts nothing: nothing was promised.
        .catch(() => undefined);
      if (answer?.status === 200) ids.push(answer.body.request_id);
    }
  })();
  await pause(randomInt(longestDelay));
  await faults[name]!(round);
  await submitting;
  for (const id of ids) {
    const result = await endedThrough(round, id);
    tally.accepted++;
    if (result.status === "succeeded") {
      await checkFiles(id, result.outputs.images, name === "disk full");
      tally.succeeded++;
    } else if (result.status === "failed" && result.error !== "") {
      tally.failed++;
      tally.reasons[result.error_code] = (tally.reasons[result.error_code] ?? 0) + 1;
    } else throw new Error(`${id} ended as ${result.status} without a reason`);
  }
}

/** A restart may be under way: a refused connection is no answer. */
async function endedThrough(round: Round, id: string) {
  for (let tries = 0; ; tries++) {
    try {
      return await round.server.ended(id, 60);
    } catch (error) {
      if (tries === 20) {
        throw new Error(
          `${id} is not told of; the server's log ends:\n${round.server.log.slice(-4000)}`,
          {
            cause: error,
          },
        );
      }
      await pause(250);
    }
  }
}

async function checkFiles(id: string, images: { file_path: string }[], mountGone: boolean) {
  if (images.length !== 2) throw new Error(`${id} has ${images.length} pictures`);
  for (const { file_path } of images) {
    // What lay on the small disk went with it.
    if (mountGone && !existsSync(file_path)) continue;
    // Decoding fails on a file that is cut off.
    const { info } = await sharp(file_path, { failOn: "warning" })
      .raw()
      .toBuffer({ resolveWithObject: true });
    if (info.width !== 128) throw new Error(`${file_path} is ${info.width} wide`);
  }
}

const ownNode = process.execPath;

async function playAll(database: string): Promise<object> {
  const folder = mkdtempSync(join(tmpdir(), "retake-faults-"));
  mkdirSync(join(folder, "out"));
  const postgres = database === "postgres" ? await PostgresServer.start() : undefined;
  const env: Record<string, string> = postgres === undefined ? {} : { DATABASE_URL: postgres.url };
  // One of its own, which can be taken away.
  const node = join(folder, "node");
  copyFileSync(process.execPath, node);
  process.execPath = node;
  const server = await ServerProcess.start(folder, env);
  const round: Round = { folder, env, postgres, stopSeconds: [], server };
  const results: Record<string, Tally & { longestStopSeconds?: number }> = {};
  for (const name of Object.keys(faults)) {
    if (options.only !== undefined && options.only !== name) continue;
    if (name === "database restarted" && postgres === undefined) continue;
    if (name === "disk full" && process.getuid?.() !== 0) {
      process.stdout.write("disk full: left out, as mounting a small disk needs root\n");
      continue;
    }
    const tally: Tally = { accepted: 0, succeeded: 0, failed: 0, reasons: {} };
    for (let i = 0; i < Number(options.rounds); i++) await playRound(name, round, tally);
    const stops = round.stopSeconds.splice(0);
    const longest = stops.length === 0 ? {} : { longestStopSeconds: Math.max(...stops) };
    results[name] = { ...tally, ...longest };
    process.stdout.write(`${database}, ${name}: ${JSON.stringify(results[name])}\n`);
  }
  await round.server.stop();
  await postgres?.stop();
  process.execPath = ownNode;
  rmSync(folder, { recursive: true });
  return results;
}

const results: Record<string, object> = { rounds: { each: Number(options.rounds) } };
for (const database of options.database === undefined
  ? ["embedded", "postgres"]
  : [options.database])
  results[database] = await playAll(database);
const out = options.out ?? fileURLToPath(new URL("results/faults.json", import.meta.url));
writeFileSync(out, `${JSON.stringify(results, null, 2)}\n`);
