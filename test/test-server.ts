import { mkdirSync } from "node:fs";
import { logFor } from "../src/cli/serve.ts";
import { known } from "../src/cli/settings.ts";
import { parseSettings } from "../src/config/settings.ts";
import type { Server } from "../src/http/server.ts";
import { serve } from "../src/http/server.ts";
import type { BodyPace } from "../src/http/slow-bodies.ts";
import { bodyPace } from "../src/http/slow-bodies.ts";
import type { WorkNode } from "../src/node/node.ts";
import { openNode } from "../src/node/node.ts";
import type { Call } from "./caller.ts";
import { Caller } from "./caller.ts";
import { prepareQueue } from "./prepared.ts";
import { environmentIn } from "./server-process.ts";

/**
 * The server's own parts in the test's process, workers in theirs: no second to start a process,
 * and time limits a test can wait for. Calls go through Fastify's `inject`; `url` is for tests
 * whose subject is the socket.
 */
export class TestServer extends Caller {
  readonly #server: Server;
  readonly #node: WorkNode;
  readonly #lines: string[];
  #stopped: Promise<void> | undefined;

  private constructor(server: Server, node: WorkNode, lines: string[]) {
    super();
    this.#server = server;
    this.#node = node;
    this.#lines = lines;
  }

  /** @param folder holds queue, results and downloads; another start takes them up */
  static async start(
    folder: string,
    own: Readonly<Record<string, string>> = {},
    pace: Partial<BodyPace> = {},
  ): Promise<TestServer> {
    mkdirSync(folder, { recursive: true });
    const env: Record<string, string> = { HOME: folder, ...environmentIn(folder), ...own };
    const settings = parseSettings(env, known);
    if (settings.databaseUrl === undefined) await prepareQueue(settings.dataFolder);
    const lines: string[] = [];
    const log = logFor(settings, (line) => lines.push(line));
    const node = await openNode(settings, log, new AbortController().signal);
    const server = await serve(settings, node, log, { ...bodyPace, ...pace });
    return new TestServer(server, node, lines);
  }

  get url(): string {
    return this.#server.url;
  }

  /** Everything it logged. */
  get log(): string {
    return this.#lines.join("");
  }

  /** Ends it as the command does, but hands running requests back at once. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    await Promise.all([this.#node.stopWorkers(0), this.#server.close()]);
    await this.#node.close();
  }

  protected async send({ method, path, headers, payload }: Call) {
    const answer = await this.#server.app.inject({
      // `inject` knows the methods by name; what a test sends beside them is its own affair.
      method: method as "GET",
      url: path,
      // Links in answers lead to the host that was asked: to the socket, here too.
      headers: { host: new URL(this.url).host, ...headers },
      ...(payload === undefined ? {} : { payload }),
    });
    const pairs = Object.entries(answer.headers).map(([name, value]) => [name, String(value)]);
    return {
      status: answer.statusCode,
      headers: new Headers(pairs as [string, string][]),
      text: answer.body,
    };
  }
}
