import { once } from "node:events";
import { constants } from "node:os";
import type { Command } from "commander";
import type { Logger } from "pino";
import { pino } from "pino";
import type { Settings } from "../config/settings.ts";
import { InputError } from "../errors.ts";
import { redactText } from "../net/redact.ts";
import type { WorkNode } from "../node/node.ts";
import { openNode } from "../node/node.ts";
import { loadOptional } from "../optional-package.ts";
import { readSettings } from "./settings.ts";

/** Time that running requests get at a stop; then they go back into the queue. */
const graceMilliseconds = 20_000;
/** Whatever hangs at a stop is cut off then: Kubernetes, for one, kills after 30 seconds. */
const longestStopMilliseconds = 24_000;

interface NodeFlags {
  readonly host?: string;
  readonly port?: string;
  readonly weights?: string;
  readonly device?: string;
}

export function addServeCommand(program: Command): void {
  program
    .command("serve")
    .description("answer clients over HTTP; settings are environment variables (docs/server.md)")
    .option("--host <address>", "address to listen on (HOST)")
    .option("--port <number>", "port to listen on (PORT)")
    .option("--weights <folder>", "model store, hub cache folder, hub, or demo (RETAKE_WEIGHTS)")
    .option("--device <names>", "auto, or one worker each: cpu,cuda,... (DEVICE)")
    .action(runServe);
}

export function addWorkerCommand(program: Command): void {
  program
    .command("worker")
    .description("take requests from a shared queue (DATABASE_URL) without answering clients")
    .option("--weights <folder>", "model store, hub cache folder, hub, or demo (RETAKE_WEIGHTS)")
    .option("--device <names>", "auto, or one worker each: cpu,cuda,... (DEVICE)")
    .action(runWorker);
}

/**
 * Sends traces where the usual OTEL_ variables say; nothing is loaded without them.
 *
 * @returns what sends the last of them
 */
async function startTraces(): Promise<() => Promise<void>> {
  const { OTEL_EXPORTER_OTLP_ENDPOINT: all, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: traces } =
    process.env;
  if (all === undefined && traces === undefined) return async () => {};
  const setting =
    all === undefined ? "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" : "OTEL_EXPORTER_OTLP_ENDPOINT";
  const { NodeSDK } = await loadOptional(
    setting,
    ["@opentelemetry/sdk-node"],
    () => import("@opentelemetry/sdk-node"),
  );
  const sdk = new NodeSDK({ serviceName: process.env.OTEL_SERVICE_NAME ?? "retake" });
  sdk.start();
  return () => sdk.shutdown();
}

async function runServe(flags: NodeFlags): Promise<void> {
  const settings = settingsOf(flags);
  const log = logFor(settings);
  const stop = stopSignal(log);
  // Fastify and its plugins take a third of a second to load: only where they are used.
  const { serve } = await import("../http/server.ts");
  await runNode(settings, log, stop, async (node) => {
    const server = await serve(settings, node, log);
    process.stdout.write(`Retake listens on ${server.url}\n${exampleFor(settings, server.url)}\n`);
    for (const warning of server.warnings) process.stderr.write(`warning: ${warning}\n`);
    return server;
  });
}

async function runWorker(flags: NodeFlags): Promise<void> {
  const settings = settingsOf(flags);
  if (settings.devices.length === 0)
    throw new InputError(
      "DEVICE is none, which leaves the work to other processes: this one would have nothing to do. Name the devices that it works on.",
    );
  const log = logFor(settings);
  const stop = stopSignal(log);
  const { Metrics, observe } = await import("../node/observe.ts");
  await runNode(settings, log, stop, async (node) => {
    node.startWorkers(observe(new Metrics(node.queue), log));
    process.stdout.write(`Retake works on ${node.devices.map(({ name }) => name).join(", ")}\n`);
    return { close: async () => {} };
  });
}

/** Opens a node, starts its work, and ends it all at the signal, which may come while it starts. */
async function runNode(
  settings: Settings,
  log: Logger,
  stop: AbortSignal,
  start: (node: WorkNode) => Promise<{ close(): Promise<void> }>,
): Promise<void> {
  const endTraces = await startTraces();
  const node = await openNode(settings, log, stop);
  try {
    if (!stop.aborted) {
      const started = await start(node);
      if (!stop.aborted) await once(stop, "abort");
      await Promise.all([node.stopWorkers(graceMilliseconds), started.close()]);
    }
  } finally {
    await node.close();
  }
  await endTraces();
}

function settingsOf({ host, port, weights, device }: NodeFlags): Settings {
  return readSettings({ HOST: host, PORT: port, RETAKE_WEIGHTS: weights, DEVICE: device });
}

/** Structured lines on stderr; whatever secret got into one is masked. */
export function logFor(
  { logLevel }: Settings,
  write: (line: string) => void = (line) => void process.stderr.write(line),
): Logger {
  return pino(
    { level: logLevel, base: null, timestamp: pino.stdTimeFunctions.isoTime },
    { write: (line: string) => write(redactText(line)) },
  );
}

/** One line that draws a picture; the demonstration knows small pictures only. */
function exampleFor({ weights }: Settings, url: string): string {
  const size = weights === "demo" ? ',"width":256,"height":256' : "";
  const lora = weights === "demo" ? "zorple.safetensors" : "YOUR-LORA.safetensors";
  const body = `{"model":"zimage_deturbo","loras":[{"path":"${lora}"}],"prompts":[{"prompt":"zorple a red circle on blue"${size}}]}`;
  return `curl ${url}/v1/inference -H 'content-type: application/json' -d '${body}'`;
}

/**
 * Fires at SIGINT or SIGTERM. The process then ends by itself, or is ended when
 * that takes too long; a second signal ends it at once.
 */
function stopSignal(log: Logger): AbortSignal {
  const stop = new AbortController();
  const onSignal = (signal: NodeJS.Signals) => {
    if (stop.signal.aborted) {
      log.warn({ signal }, "told to stop twice: ending at once");
      process.exit(128 + constants.signals[signal]);
    }
    log.info({ signal }, "stopping");
    setTimeout(() => {
      log.error({}, "stopping took too long: what is left is cut off");
      process.exit(1);
    }, longestStopMilliseconds).unref();
    stop.abort();
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, onSignal);
  return stop.signal;
}
