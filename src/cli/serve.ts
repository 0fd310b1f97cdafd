import type { Command } from "commander";
import { pino } from "pino";
import type { Settings } from "../config/settings.ts";
import { redactText } from "../net/redact.ts";
import { openNode } from "../node/node.ts";
import { readSettings } from "./settings.ts";

/** Time that running requests get at a stop; then they go back into the queue. */
const graceMilliseconds = 20_000;

interface NodeFlags {
  readonly host?: string;
  readonly port?: string;
  readonly weights?: string;
  readonly device?: string;
}

export function addServeCommands(program: Command): void {
  program
    .command("serve")
    .description("answer clients over HTTP; settings are environment variables (docs/server.md)")
    .option("--host <address>", "address to listen on (HOST)")
    .option("--port <number>", "port to listen on (PORT)")
    .option("--weights <folder>", "model store, hub cache folder, hub, or demo (RETAKE_WEIGHTS)")
    .option("--device <names>", "one worker each: cpu,cuda,... (DEVICE)")
    .action(runServe);
  program
    .command("worker")
    .description("take requests from a shared queue (DATABASE_URL) without answering clients")
    .option("--weights <folder>", "model store, hub cache folder, hub, or demo (RETAKE_WEIGHTS)")
    .option("--device <names>", "one worker each: cpu,cuda,... (DEVICE)")
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
  const { NodeSDK } = await import("@opentelemetry/sdk-node");
  const sdk = new NodeSDK({ serviceName: process.env.OTEL_SERVICE_NAME ?? "retake" });
  sdk.start();
  return () => sdk.shutdown();
}

async function runServe(flags: NodeFlags): Promise<void> {
  // Fastify and its plugins take a third of a second to load: only where they are used.
  const { serve } = await import("../http/serve.ts");
  const settings = settingsOf(flags);
  const log = logFor(settings);
  const endTraces = await startTraces();
  const node = await openNode(settings, log);
  const server = await serve(settings, node, log).catch(async (error: unknown) => {
    await node.close(0);
    throw error;
  });
  process.stdout.write(`Retake listens on ${server.url}\n${exampleFor(settings, server.url)}\n`);
  await stopSignal();
  log.info({}, "stopping");
  await server.close();
  await node.close(graceMilliseconds);
  await endTraces();
}

async function runWorker(flags: NodeFlags): Promise<void> {
  const { observe } = await import("../node/observe.ts");
  const { Metrics } = await import("../node/observe.ts");
  const settings = settingsOf(flags);
  const log = logFor(settings);
  const endTraces = await startTraces();
  const node = await openNode(settings, log);
  node.startWorkers(observe(new Metrics(node.queue), log));
  process.stdout.write(`Retake works on ${settings.devices.join(", ")}\n`);
  await stopSignal();
  await node.close(graceMilliseconds);
  await endTraces();
}

function settingsOf({ host, port, weights, device }: NodeFlags): Settings {
  return readSettings({ HOST: host, PORT: port, RETAKE_WEIGHTS: weights, DEVICE: device });
}

/** Structured lines on stderr; whatever secret got into one is masked. */
function logFor({ logLevel }: Settings) {
  return pino(
    { level: logLevel, base: null, timestamp: pino.stdTimeFunctions.isoTime },
    { write: (line: string) => void process.stderr.write(redactText(line)) },
  );
}

/** One line that draws a picture; the demonstration knows small pictures only. */
function exampleFor({ weights }: Settings, url: string): string {
  const size = weights === "demo" ? ',"width":256,"height":256' : "";
  const lora = weights === "demo" ? "zorple.safetensors" : "YOUR-LORA.safetensors";
  const body = `{"model":"zimage_deturbo","loras":[{"path":"${lora}"}],"prompts":[{"prompt":"zorple a red circle on blue"${size}}]}`;
  return `curl ${url}/v1/inference -H 'content-type: application/json' -d '${body}'`;
}

function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => resolve());
  });
}
