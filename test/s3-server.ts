import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

/** A real S3-compatible store in a process of its own, with one bucket. */
export class S3Server {
  readonly #folder: string;
  readonly #process: ChildProcess;
  /** What a process needs to reach it. */
  readonly environment: Readonly<Record<string, string>>;

  private constructor(folder: string, process: ChildProcess, url: string) {
    this.#folder = folder;
    this.#process = process;
    this.environment = {
      AWS_ENDPOINT_URL_S3: url,
      AWS_REGION: "us-east-1",
      AWS_ACCESS_KEY_ID: "S3RVER",
      AWS_SECRET_ACCESS_KEY: "S3RVER",
    };
  }

  static async start(bucket: string): Promise<S3Server> {
    const folder = mkdtempSync(join(tmpdir(), "retake-s3-"));
    const probe = createServer().listen(0, "127.0.0.1");
    await once(probe, "listening");
    const { port } = probe.address() as AddressInfo; // a TCP server's address
    probe.close();
    const bin = join(
      dirname(createRequire(import.meta.url).resolve("s3rver/package.json")),
      "bin",
      "s3rver.js",
    );
    const place = ["--directory", folder, "--address", "127.0.0.1", "--port", String(port)];
    const store = spawn(
      process.execPath,
      [bin, ...place, "--silent", "--configure-bucket", bucket],
      { stdio: "ignore" },
    );
    const url = `http://127.0.0.1:${port}`;
    for (let tries = 0; tries < 100; tries++) {
      const up = await fetch(url).catch(() => undefined);
      if (up !== undefined) break;
      await new Promise((done) => setTimeout(done, 100));
    }
    return new S3Server(folder, store, url);
  }

  async stop(): Promise<void> {
    const ended = once(this.#process, "exit");
    this.#process.kill();
    await ended;
    rmSync(this.#folder, { recursive: true });
  }
}
