import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const main = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));

/** `retake serve` or `retake worker` in a process of its own, as an operator runs it. */
export class ServerProcess {
  readonly #process: ChildProcess;
  /** Everything it logged. */
  log = "";
  url = "";
  /** What it wrote to stdout. */
  #said = "";

  private constructor(process: ChildProcess) {
    this.#process = process;
  }

  /**
   * Starts it and waits until it says that it listens.
   *
   * @param folder holds queue, results and downloads; another start takes them up
   */
  static async start(
    folder: string,
    env: Readonly<Record<string, string>> = {},
  ): Promise<ServerProcess> {
    const server = ServerProcess.spawn(folder, env);
    await new Promise<void>((ready, fail) => {
      server.#process.stdout?.on("data", () => {
        if (server.#said.includes("\n")) ready();
      });
      server.#process.once("exit", (code) => fail(new Error(`ended with ${code}: ${server.log}`)));
    });
    server.url = /http:\/\/\S+/.exec(server.#said)?.[0] ?? "";
    return server;
  }

  /** Starts it and waits for nothing. */
  static spawn(
    folder: string,
    { command = "serve", ...env }: Readonly<Record<string, string>> = {},
  ): ServerProcess {
    mkdirSync(folder, { recursive: true });
    const child = spawn(process.execPath, [main, command], {
      cwd: folder,
      env: {
        PATH: process.env.PATH,
        HOME: folder,
        PORT: "0",
        OUTPUT_BASE_PATH: join(folder, "out"),
        LORA_DOWNLOAD_CACHE_DIR: join(folder, "loras"),
        RETAKE_DATA: join(folder, "data"),
        ...env,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const server = new ServerProcess(child);
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      server.#said += text;
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      server.log += text;
    });
    return server;
  }

  get pid(): number {
    return this.#process.pid ?? -1;
  }

  get running(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null;
  }

  /** SIGKILL: nothing is cleaned up. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** SIGTERM, as a service manager stops it. @returns its exit code */
  async stop(): Promise<number | null> {
    await this.#end("SIGTERM");
    return this.#process.exitCode;
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  /** Waits for its end. @returns its exit code, null after a signal that killed it */
  async exited(): Promise<number | null> {
    if (this.running) await once(this.#process, "exit");
    return this.#process.exitCode;
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    if (!this.running) return;
    this.signal(signal);
    await this.exited();
  }

  /** Waits until it has logged the text. */
  async logged(text: string): Promise<void> {
    while (!this.log.includes(text)) {
      if (!this.running) throw new Error(`it ended and never logged ${text}: ${this.log}`);
      await new Promise((done) => setTimeout(done, 20));
    }
  }

  /** Sends JSON, or nothing; answers with status and parsed body. */
  async call(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
    const response = await fetch(new URL(path, this.url), {
      method,
      headers: body === undefined ? headers : { "content-type": "application/json", ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson = response.headers.get("content-type")?.includes("json") === true;
    return {
      status: response.status,
      headers: response.headers,
      body: isJson ? JSON.parse(text) : text,
    };
  }

  /** Waits until a request has ended. */
  async ended(id: string, seconds = 30) {
    for (let tries = 0; tries < seconds * 20; tries++) {
      const { body } = await this.call("GET", `/v1/requests/${id}/result`);
      if (["succeeded", "failed", "canceled"].includes(body.status)) return body;
      await new Promise((done) => setTimeout(done, 50));
    }
    throw new Error(`request ${id} did not end`);
  }
}

/** A request that takes a moment: a picture of the demonstration checkpoint. */
export function demoRequest(fields: object = {}, prompt: object = {}) {
  return {
    model: "zimage_turbo",
    loras: [{ path: "zorple.safetensors" }],
    prompts: [
      { prompt: "a red circle on blue", width: 64, height: 64, sample_steps: 3, ...prompt },
    ],
    ...fields,
  };
}
