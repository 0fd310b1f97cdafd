import { homedir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { InputError } from "../errors.ts";
import { mostLoras } from "../job/request.ts";
import { count, flag, list, namedInCapitals, transformerList } from "./environment.ts";
import { networkOf, parseStoreSettings, type StoreSettings, storeEnvironment } from "./hub.ts";
import type { Quantize } from "./model-options.ts";
import { quantizeKinds } from "./model-options.ts";
import type { LoraSourceSettings, WebhookSettings } from "./network.ts";
import { hostEntry, loraSourceSettingsSchema, webhookSettingsSchema } from "./network.ts";

const bytes = z
  .string()
  .regex(/^\d+$/, "is not a number of bytes")
  .transform(Number)
  .pipe(z.int().min(1));
const port = z
  .string()
  .regex(/^\d+$/, "is not a port")
  .transform(Number)
  .pipe(z.int().min(0).max(65535));
const httpUrl = z.url({ protocol: /^https?$/ });

/**
 * The server's settings, each an environment variable. Names without RETAKE_
 * are the reference server's, and mean here what they mean there.
 */
const environmentSchema = z.object({
  ...storeEnvironment,
  /** Only this machine reaches the server unless another address is given. */
  HOST: z.string().default("127.0.0.1"),
  PORT: port.default(8000),
  /** What status and result links start with; default: where the server listens. */
  BASE_URL: httpUrl.optional(),
  /** Folder that LoRA paths are taken from; default: the demonstration's, or the reference's. */
  WORKFLOWS_BASE_PATH: z.string().optional(),
  OUTPUT_BASE_PATH: z.string().default("/tmp/inference_output"),
  LORA_DOWNLOAD_CACHE_DIR: z.string().optional(),
  DEVICE: z.string().default("cpu"),
  /** none keeps a pipeline's networks open; model and sequential open each only while it works. */
  OFFLOAD_MODE: z.enum(["none", "model", "sequential"]).default("none"),
  ENABLE_CPU_OFFLOAD: flag.default(false),
  /** Seconds that one request may take once it has started. */
  INFERENCE_TIMEOUT: count.default(3600),
  /** postgres://...; without it the queue is a folder. */
  DATABASE_URL: z.url({ protocol: /^postgres(ql)?$/ }).optional(),
  /** Folder of the embedded queue. */
  RETAKE_DATA: z.string().optional(),
  /** int8 rounds transformers to 8 bits when they are loaded. */
  RETAKE_QUANTIZE: z.enum(["none", ...quantizeKinds]).default("none"),
  /** Folder for files that weights are made into; default: the user's cache. */
  RETAKE_CACHE: z.string().optional(),
  /** model=file,model=file: what takes the place of a model's own transformer. */
  RETAKE_TRANSFORMERS: transformerList.default({}),
  /** Models that are not there are fetched when a request wants them. */
  RETAKE_AUTO_PULL: flag.default(false),
  /** Requests that may wait; one more is answered 429. */
  RETAKE_MAX_QUEUED: count.default(1000),
  /** LoRAs of a request that act together; the reference takes one. */
  RETAKE_MAX_LORAS: count.pipe(z.int().max(mostLoras)).default(1),
  RETAKE_MAX_PROMPTS: count.default(64),
  RETAKE_MAX_PROMPT_CHARACTERS: count.default(20_000),
  /** Bytes of a request's body. */
  RETAKE_MAX_BODY: count.default(1_048_576),
  /** Width x height x steps of one prompt; the reference's bounds allow this much. */
  RETAKE_MAX_PIXEL_STEPS: z.coerce
    .number()
    .min(64 * 64)
    .default(4096 * 4096 * 150),
  /** Days that finished requests and their pictures are kept. */
  RETAKE_RETENTION_DAYS: count.default(30),
  /** File with API keys, made by `retake keys add`; without it every client is let in. */
  RETAKE_API_KEYS: z.string().optional(),
  /** Requests per minute and key. */
  RETAKE_RATE_LIMIT: count.default(600),
  /** Names under which clients reach a server without keys, besides localhost, HOST's and BASE_URL's. */
  RETAKE_ALLOWED_HOSTS: list.pipe(z.array(hostEntry)).default([]),
  /** Origins of web pages that may call the server. */
  RETAKE_CORS_ORIGINS: list.default([]),
  /** Bytes of one LoRA download, and of all that are kept. */
  RETAKE_MAX_LORA: bytes.optional(),
  RETAKE_LORA_CACHE: bytes.optional(),
  /** Where uploaded LoRAs lie: a folder that all nodes share, or s3://bucket/prefix. */
  RETAKE_UPLOADS: z.string().optional(),
  /** Bytes of all uploads together. */
  RETAKE_MAX_UPLOADS: bytes.default(50 * 2 ** 30),
  /** Seals the tokens of waiting requests; the same on all nodes. */
  RETAKE_SECRET: z.string().min(32, "is shorter than 32 characters").optional(),
  /** Secret that signs webhooks; without it requests with a webhook are refused. */
  RETAKE_WEBHOOK_SECRET: z.string().min(16, "is shorter than 16 characters").optional(),
  RETAKE_LOG_LEVEL: z
    .enum(["fatal", "error", "warn", "info", "debug", "trace", "silent"])
    .default("info"),
});

export interface Settings extends StoreSettings {
  readonly host: string;
  readonly port: number;
  readonly baseUrl: string | undefined;
  readonly loraFolder: string;
  readonly outputFolder: string;
  readonly loraSource: LoraSourceSettings;
  readonly hfToken: string | undefined;
  readonly uploads: {
    /** A folder, or s3://bucket/prefix. */
    readonly place: string;
    /** Bytes of all of them. */
    readonly bytes: number;
  };
  readonly secret: string | undefined;
  readonly webhooks: WebhookSettings;
  readonly devices: readonly string[];
  readonly keepOpen: boolean;
  readonly timeoutSeconds: number;
  readonly databaseUrl: string | undefined;
  readonly dataFolder: string;
  /** Files to take transformers from, by model id. */
  readonly transformers: Readonly<Record<string, string>>;
  readonly quantize: "none" | Quantize;
  readonly cacheFolder: string;
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
  readonly webhookSecret: string | undefined;
  readonly logLevel: string;
}

/** Where the reference's container image keeps LoRAs. */
const referenceLoraFolder = "/app/ai-toolkit/lora_weights";

/**
 * Reads settings from environment variables; names are case-insensitive, as
 * in the reference. An empty value counts as not set.
 *
 * @param demoLoras folder of the demonstration's LoRAs
 * @throws InputError naming each variable that is wrong, and each unknown one that starts with RETAKE_
 */
export function parseSettings(
  environment: Readonly<Record<string, string | undefined>>,
  demoLoras: string,
): Settings {
  const known = new Set(Object.keys(environmentSchema.shape));
  const given = namedInCapitals(environment);
  const problems: string[] = [];
  for (const name of Object.keys(environment)) {
    const upper = name.toUpperCase();
    if (upper.startsWith("RETAKE_") && !known.has(upper)) problems.push(`${name} is no setting.`);
  }
  const parsed = environmentSchema.safeParse(given);
  if (parsed.data?.RETAKE_AUTO_PULL === true && parsed.data.RETAKE_WEIGHTS === "demo") {
    problems.push("RETAKE_AUTO_PULL: needs RETAKE_WEIGHTS, a folder or hub; it is demo.");
  }
  if (!parsed.success) {
    problems.push(
      ...parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}.`),
    );
  }
  if (problems.length > 0 || !parsed.success) {
    throw new InputError(
      `The settings can't be used. ${problems.join(" ")} See docs/server.md for all of them.`,
    );
  }
  const env = parsed.data;
  const dataFolder = env.RETAKE_DATA ?? join(userDataFolder(environment), "retake");
  return {
    host: env.HOST,
    port: env.PORT,
    baseUrl: env.BASE_URL?.replace(/\/+$/, ""),
    loraFolder:
      env.WORKFLOWS_BASE_PATH ?? (env.RETAKE_WEIGHTS === "demo" ? demoLoras : referenceLoraFolder),
    outputFolder: env.OUTPUT_BASE_PATH,
    ...networkSettings(env),
    hfToken: env.HF_TOKEN,
    uploads: {
      place: env.RETAKE_UPLOADS ?? uploadsBeside(env.OUTPUT_BASE_PATH, dataFolder),
      bytes: env.RETAKE_MAX_UPLOADS,
    },
    secret: env.RETAKE_SECRET,
    devices: env.DEVICE.split(",").map((device) => device.trim()),
    keepOpen: env.OFFLOAD_MODE === "none" && !env.ENABLE_CPU_OFFLOAD,
    timeoutSeconds: env.INFERENCE_TIMEOUT,
    databaseUrl: env.DATABASE_URL,
    dataFolder,
    ...parseStoreSettings(environment),
    autoPull: env.RETAKE_AUTO_PULL,
    transformers: env.RETAKE_TRANSFORMERS,
    quantize: env.RETAKE_QUANTIZE,
    cacheFolder: env.RETAKE_CACHE ?? cacheFolderFor(environment),
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
    webhookSecret: env.RETAKE_WEBHOOK_SECRET,
    logLevel: env.RETAKE_LOG_LEVEL,
  };
}

/** Whoever keeps results where all nodes reach them wants uploads there too. */
function uploadsBeside(outputFolder: string, dataFolder: string): string {
  return outputFolder.startsWith("s3://")
    ? `${outputFolder.replace(/\/+$/, "")}/uploads`
    : join(dataFolder, "uploads");
}

/** @throws InputError if an address, a host or the hub's URL is none */
function networkSettings(
  env: z.output<typeof environmentSchema>,
): Pick<Settings, "loraSource" | "webhooks"> {
  const network = networkOf(env);
  const parsed = z
    .object({
      loraSource: loraSourceSettingsSchema,
      webhooks: webhookSettingsSchema,
    })
    .safeParse({
      loraSource: {
        cacheDir: env.LORA_DOWNLOAD_CACHE_DIR,
        cacheBytes: env.RETAKE_LORA_CACHE,
        fileBytes: env.RETAKE_MAX_LORA,
        hubEndpoint: env.HF_ENDPOINT,
        network,
      },
      webhooks: { network },
    });
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const name = issue?.path.includes("hubEndpoint") ? "HF_ENDPOINT" : "RETAKE_ALLOW_ADDRESSES";
  throw new InputError(
    `The settings can't be used. ${name}: ${issue?.message}. See docs/server.md for all of them.`,
  );
}

/** Where files are kept that weights are made into: they can be made again at any time. */
export function cacheFolderFor(environment: Readonly<Record<string, string | undefined>>): string {
  const { RETAKE_CACHE: own = "", XDG_CACHE_HOME: users = "" } = environment;
  if (own !== "") return own;
  return join(users === "" ? join(homedir(), ".cache") : users, "retake");
}

function userDataFolder(environment: Readonly<Record<string, string | undefined>>): string {
  const configured = environment.XDG_DATA_HOME;
  return configured === undefined || configured === ""
    ? join(homedir(), ".local", "share")
    : configured;
}
