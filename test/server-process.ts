import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Call } from "./caller.ts";
import { Caller } from "./caller.ts";
import { prepareQueue } from "./prepared.ts";
import type { RetakeProcess } from "./retake-process.ts";
import { startRetake } from "./retake-process.ts";

/** Settings of a server that keeps queue, results and downloads in a folder. */
export function environmentIn(folder: string): Record<string, string> {
  return {
    PORT: "0",
    DEVICE: "cpu",
    OUTPUT_BASE_PATH: join(folder, "out"),
    LORA_DOWNLOAD_CACHE_DIR: join(folder, "loras"),
    RETAKE_DATA: join(folder, "data"),
  };
}

/** `retake serve` or `retake worker` in a process of its own, as an operator runs it. */
export class ServerProcess extends Caller {
  readonly #process: RetakeProcess;
  url = "";

  private constructor(process: RetakeProcess) {
    super();
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
    if (env.DATABASE_URL === undefined)
      await prepareQueue(env.RETAKE_DATA ?? environmentIn(folder).RETAKE_DATA!);
    const server = ServerProcess.spawn(folder, env);
    const process = server.#process;
    await new Promise<void>((ready, fail) => {
      process.child.stdout?.on("data", () => {
        if (process.output.stdout.includes("\n")) ready();
      });
      process.ended.then(
        ({ code, stderr }) => fail(new Error(`ended with ${code}: ${stderr}`)),
        fail,
      );
    });
    server.url = /http:\/\/\S+/.exec(process.output.stdout)?.[0] ?? "";
    return server;
  }

  /** Starts it and waits for nothing. */
  static spawn(
    folder: string,
    { command = "serve", ...env }: Readonly<Record<string, string>> = {},
  ): ServerProcess {
    mkdirSync(folder, { recursive: true });
    const all = { ...environmentIn(folder), ...env };
    return new ServerProcess(startRetake([command], { cwd: folder, env: all }));
  }

  /** Everything it logged. */
  get log(): string {
    return this.#process.output.stderr;
  }

  get pid(): number {
    return this.#process.child.pid ?? -1;
  }

  get running(): boolean {
    const { exitCode, signalCode } = this.#process.child;
    return exitCode === null && signalCode === null;
  }

  /** SIGKILL: nothing is cleaned up. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** SIGTERM, as a service manager stops it. @returns its exit code */
  async stop(): Promise<number | null> {
    await this.#end("SIGTERM");
    return this.#process.child.exitCode;
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.child.kill(signal);
  }

  /** Waits for its end. @returns its exit code, null after a signal that killed it */
  async exited(): Promise<number | null> {
    if (this.running) await once(this.#process.child, "exit");
    return this.#process.child.exitCode;
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

  protected async send({ method, path, headers, payload }: Call) {
    const body = payload === undefined ? {} : { body: new Uint8Array(Buffer.from(payload)) };
    const response = await fetch(new URL(path, this.url), { method, headers, ...body });
    return {
      status: response.status,
      headers: response.headers,
      text: await response.text(),
    };
  }
}
