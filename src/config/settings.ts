import { homedir } from "node:os";
import { join } from "node:path";
import { type HubSettings, hubCacheFolder, hubTokenFile, userCacheFolder } from "./hub.ts";
import { contradict, type DeviceChoice, type ModelOptions, storageOf } from "./model-options.ts";
import type { LoraSourceSettings, NetworkPolicy, WebhookSettings } from "./network.ts";
import {
  cacheVariables,
  type Environment,
  linkVariables,
  modelVariables,
  readVariables,
  serverVariables,
  storeVariables,
} from "./variables.ts";

/** What the rooms above know, and settings name. */
export interface Known {
  /** Folder of the demonstration's LoRAs. */
  readonly demoLoras: string;
  /** Their ids. */
  readonly models: readonly string[];
}

/** What runs a model. */
export interface ModelSettings
  extends Readonly<Pick<ModelOptions, "weights" | "storage" | "cacheFolder">> {
  /** Files to take transformers from, by model id. */
  readonly transformers: Readonly<Record<string, string>>;
  /** One worker each; none for a server that leaves the work to others. */
  readonly devices: readonly DeviceChoice[];
}

/** Where weights lie and come from. */
export interface StoreSettings {
  /** A folder, or `demo`. */
  readonly weights: string;
  readonly hub: HubSettings;
  /** For what the hub redirects to. */
  readonly network: NetworkPolicy;
}

/** How LoRAs come from links. */
export interface LinkSettings {
  readonly hub: HubSettings;
  readonly network: NetworkPolicy;
  readonly loraSource: LoraSourceSettings;
}

export interface Settings extends ModelSettings, StoreSettings, LinkSettings {
  readonly host: string;
  readonly port: number;
  readonly baseUrl: string | undefined;
  readonly loraFolder: string;
  /** A folder, or s3://bucket/prefix. */
  readonly outputFolder: string;
  readonly uploads: {
    /** A folder, or s3://bucket/prefix. */
    readonly place: string;
    /** Bytes of all of them. */
    readonly bytes: number;
  };
  readonly secret: string | undefined;
  readonly webhooks: WebhookSettings;
  readonly keepOpen: boolean;
  readonly timeoutSeconds: number;
  readonly databaseUrl: string | undefined;
  readonly dataFolder: string;
  readonly autoPull: boolean;
  readonly maxQueued: number;
  readonly limits: {
    readonly loras: number;
    readonly prompts: number;
    readonly promptCharacters: number;
    readonly pixelSteps: number;
    readonly bodyBytes: number;
  };
  readonly retentionDays: number;
  readonly apiKeysFile: string | undefined;
  readonly rateLimit: number;
  /** Names in lower case; `.example.com` is every name under it. */
  readonly allowedHosts: readonly string[];
  readonly corsOrigins: readonly string[];
  /** Signs webhooks; without it requests with a webhook are refused. */
  readonly webhookKey: Buffer | undefined;
  readonly logLevel: string;
}

type Read<Table extends Parameters<typeof readVariables>[0]> = ReturnType<
  typeof readVariables<Table>
>;

/** Where the reference's container image keeps LoRAs. */
const referenceLoraFolder = "/app/ai-toolkit/lora_weights";

/** All of a server's settings. @throws InputError naming everything that is wrong */
export function parseSettings(environment: Environment, known: Known): Settings {
  const env = readVariables(serverVariables, environment, (read) => [
    ...modelProblems(read, known),
    ...(read.RETAKE_AUTO_PULL === true && read.RETAKE_WEIGHTS === "demo"
      ? ["RETAKE_AUTO_PULL: needs RETAKE_WEIGHTS, a folder or hub; it is demo."]
      : []),
  ]);
  const usersData = env.XDG_DATA_HOME ?? join(homedir(), ".local", "share");
  const dataFolder = env.RETAKE_DATA ?? join(usersData, "retake");
  const outputFolder = env.OUTPUT_BASE_PATH ?? "/tmp/inference_output";
  const loraFolder = env.RETAKE_WEIGHTS === "demo" ? known.demoLoras : referenceLoraFolder;
  return {
    ...modelSettings(env),
    ...storeSettings(env),
    ...linkSettings(env),
    host: env.HOST,
    port: env.PORT,
    baseUrl: env.BASE_URL,
    loraFolder: env.WORKFLOWS_BASE_PATH ?? loraFolder,
    outputFolder,
    uploads: {
      place: env.RETAKE_UPLOADS ?? uploadsBeside(outputFolder, dataFolder),
      bytes: env.RETAKE_MAX_UPLOADS,
    },
    secret: env.RETAKE_SECRET,
    webhooks: { totalMs: 300_000, retryMs: 2000 },
    keepOpen: env.OFFLOAD_MODE === "none" && !env.ENABLE_CPU_OFFLOAD,
    timeoutSeconds: env.INFERENCE_TIMEOUT,
    databaseUrl: env.DATABASE_URL,
    dataFolder,
    autoPull: env.RETAKE_AUTO_PULL,
    maxQueued: env.RETAKE_MAX_QUEUED,
    limits: {
      loras: env.RETAKE_MAX_LORAS,
      prompts: env.RETAKE_MAX_PROMPTS,
      promptCharacters: env.RETAKE_MAX_PROMPT_CHARACTERS,
      pixelSteps: env.RETAKE_MAX_PIXEL_STEPS,
      bodyBytes: env.RETAKE_MAX_BODY,
    },
    retentionDays: env.RETAKE_RETENTION_DAYS,
    apiKeysFile: env.RETAKE_API_KEYS,
    rateLimit: env.RETAKE_RATE_LIMIT,
    allowedHosts: env.RETAKE_ALLOWED_HOSTS,
    corsOrigins: env.RETAKE_CORS_ORIGINS,
    webhookKey: env.RETAKE_WEBHOOK_SECRET,
    logLevel: env.RETAKE_LOG_LEVEL,
  };
}

/** What makes a picture, on a server or without one. @throws InputError */
export function parseModelSettings(environment: Environment, known: Known): ModelSettings {
  return modelSettings(
    readVariables(modelVariables, environment, (read) => modelProblems(read, known)),
  );
}

/** What fetches weights. @throws InputError */
export function parseStoreSettings(environment: Environment): StoreSettings {
  return storeSettings(readVariables(storeVariables, environment));
}

/** What fetches LoRAs. @throws InputError */
export function parseLinkSettings(environment: Environment): LinkSettings {
  return linkSettings(readVariables(linkVariables, environment));
}

/** Where files are kept that weights are made into: they can be made again at any time. @throws InputError */
export function parseCacheFolder(environment: Environment): string {
  return cacheFolder(readVariables(cacheVariables, environment));
}

function modelProblems(
  {
    RETAKE_TRANSFORMERS: files = {},
    RETAKE_STORAGE: storage,
    RETAKE_QUANTIZE: quantize,
  }: Partial<Read<typeof modelVariables>>,
  { models }: Known,
): string[] {
  const unknown = Object.keys(files)
    .filter((id) => !models.includes(id))
    .map(
      (id) =>
        `RETAKE_TRANSFORMERS: there is no model ${JSON.stringify(id)}; take ${models.join(", ")}.`,
    );
  return contradict({ storage, quantize })
    ? [
        ...unknown,
        `RETAKE_STORAGE (--storage) is ${storage}, and its older name RETAKE_QUANTIZE (--quantize) is ${quantize}: leave the older one away.`,
      ]
    : unknown;
}

function modelSettings(env: Read<typeof modelVariables>): ModelSettings {
  return {
    weights: weightsFolder(env),
    transformers: env.RETAKE_TRANSFORMERS,
    storage: storageOf({ storage: env.RETAKE_STORAGE, quantize: env.RETAKE_QUANTIZE }),
    cacheFolder: cacheFolder(env),
    devices: env.DEVICE,
  };
}

function storeSettings(env: Read<typeof storeVariables>): StoreSettings {
  return { weights: weightsFolder(env), hub: hubSettings(env), network: networkPolicy(env) };
}

function linkSettings(env: Read<typeof linkVariables>): LinkSettings {
  return {
    hub: hubSettings(env),
    network: networkPolicy(env),
    loraSource: {
      cacheDir: env.LORA_DOWNLOAD_CACHE_DIR ?? "/tmp/lora_cache",
      cacheBytes: env.RETAKE_LORA_CACHE,
      fileBytes: env.RETAKE_MAX_LORA,
      totalMs: 3_600_000,
      retryMs: 1000,
    },
  };
}

function hubSettings(env: Read<typeof storeVariables>): HubSettings {
  return {
    endpoint: env.HF_ENDPOINT ?? "https://huggingface.co",
    token: env.HF_TOKEN,
    tokenFile: hubTokenFile(env),
    offline: env.HF_HUB_OFFLINE,
    idleMs: env.HF_HUB_DOWNLOAD_TIMEOUT * 1000,
    retryMs: 1000,
  };
}

/** Where web servers listen: other ports are other services. */
const webPorts = [443, 80, 8080, 8443];

function networkPolicy(env: Read<typeof storeVariables>): NetworkPolicy {
  return {
    schemes: env.RETAKE_ALLOW_HTTP ? ["https", "http"] : ["https"],
    ports: webPorts,
    allow: env.RETAKE_ALLOW_ADDRESSES,
  };
}

function weightsFolder(
  env: Pick<Read<typeof modelVariables>, "RETAKE_WEIGHTS"> & Parameters<typeof hubCacheFolder>[0],
): string {
  return env.RETAKE_WEIGHTS === "hub" ? hubCacheFolder(env) : env.RETAKE_WEIGHTS;
}

function cacheFolder(env: Read<typeof cacheVariables>): string {
  return env.RETAKE_CACHE ?? join(userCacheFolder(env), "retake");
}

/** Whoever keeps results where all nodes reach them wants uploads there too. */
function uploadsBeside(outputFolder: string, dataFolder: string): string {
  return outputFolder.startsWith("s3://")
    ? `${outputFolder.replace(/\/+$/, "")}/uploads`
    : join(dataFolder, "uploads");
}
