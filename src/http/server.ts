import type { FastifyInstance } from "fastify";
import type { Logger } from "pino";
import type { Settings } from "../config/settings.ts";
import { InputError } from "../errors.ts";
import type { WorkNode } from "../node/node.ts";
import { Metrics, observe } from "../node/observe.ts";
import { sendWebhooks } from "../webhooks/send.ts";
import { ApiKeys } from "./api-keys.ts";
import { buildApp } from "./app.ts";
import { Arrivals } from "./arrivals.ts";
import type { BodyPace } from "./slow-bodies.ts";
import { bodyPace } from "./slow-bodies.ts";

export interface Server {
  readonly url: string;
  readonly app: FastifyInstance;
  /** What its operator should know of. */
  readonly warnings: readonly string[];
  /** Stops listening; what clients were told is true stays true. */
  close(): Promise<void>;
}

/** Answers clients on the settings' address. @returns once it listens */
export async function serve(
  settings: Settings,
  node: WorkNode,
  log: Logger,
  pace: BodyPace = bodyPace,
): Promise<Server> {
  const { queue, results, uploads, jobUploads, seal, notReady, devices, storagesOf } = node;
  const keys =
    settings.apiKeysFile === undefined ? undefined : await ApiKeys.read(settings.apiKeysFile);
  const metrics = new Metrics(queue);
  const fileOf = (name: string) => results.fileOf(name);
  const links = { baseUrl: settings.baseUrl ?? "", fileOf };
  const app = await buildApp({
    ...{ settings, links, keys, metrics, log, pace },
    ...{ queue, results, uploads, jobUploads, seal, notReady, devices, storagesOf },
    arrivals: new Arrivals(uploads.contents),
  });
  await listen(app, settings);
  links.baseUrl ||= urlOf(app);
  await sendWebhooks({ queue, results }, settings, links, log);
  node.startWorkers(observe(metrics, log));
  const warnings = keys === undefined && !isLoopback(settings.host) ? [openToAll(settings)] : [];
  for (const warning of warnings) log.warn({ host: settings.host }, warning);
  return { url: links.baseUrl, app, warnings, close: () => app.close() };
}

function openToAll({ host, port }: Settings): string {
  return `HOST is ${host}, and there are no API keys: whoever reaches port ${port} of this machine may use it. Make keys (retake keys add NAME --file FILE) and name the file in RETAKE_API_KEYS, or take HOST=127.0.0.1.`;
}

/** Whether only this machine reaches it. */
function isLoopback(host: string): boolean {
  return /^(127(\.\d+){3}|::1|(.*\.)?localhost)$/i.test(host);
}

async function listen(app: FastifyInstance, { host, port }: Settings): Promise<void> {
  try {
    await app.listen({ host, port });
  } catch (error) {
    await app.close();
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    const reasons: Readonly<Record<string, string>> = {
      EADDRINUSE: `another program listens on port ${port}. Stop it, or take another with --port`,
      EACCES: `this user may not listen on port ${port}. Take one above 1023 with --port`,
      EADDRNOTAVAIL: `${host} is no address of this machine. Give one with --host`,
      ENOTFOUND: `there is no host ${host}. Give an address with --host`,
    };
    const reason = reasons[String(code)];
    if (reason === undefined) throw error;
    throw new InputError(`The server can't start: ${reason}.`, { cause: error });
  }
}

function urlOf(app: FastifyInstance): string {
  const [address] = app.addresses();
  if (address === undefined || typeof address === "string")
    throw new Error("the server doesn't listen");
  const host = address.family === "IPv6" ? `[${address.address}]` : address.address;
  // Nobody can open 0.0.0.0 or [::]; whoever reads this line is on this machine.
  return `http://${host.replace(/^(?:0\.0\.0\.0|\[::\])$/, "localhost")}:${address.port}`;
}
