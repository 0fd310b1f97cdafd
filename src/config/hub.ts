import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { z } from "zod";
import { InputError } from "../errors.ts";
import { count, flag, list, namedInCapitals } from "./environment.ts";
import { networkPolicySchema } from "./network.ts";

const hubSettingsSchema = z.strictObject({
  /** HF_ENDPOINT: the hub, or a mirror, which may be private and without TLS: the operator chose it. */
  endpoint: z.url({ protocol: /^https?$/ }).default("https://huggingface.co"),
  /** HF_TOKEN. Sent to the endpoint's origin alone. */
  token: z.string().optional(),
  /** The file in which `hf auth login` keeps a token. */
  tokenFile: z.string(),
  /** HF_HUB_OFFLINE: nothing is fetched. */
  offline: z.boolean(),
  /** A connection that sends nothing for so long is given up and begun again. */
  idleMs: z.int().min(1),
  /** Wait before the second attempt; doubled before each later one. */
  retryMs: z.int().min(1).default(1000),
  /** For what the endpoint redirects to. */
  network: networkPolicySchema,
});

/** Where model weights come from. */
export type HubSettings = Readonly<z.output<typeof hubSettingsSchema>>;

/** Where weights lie and come from. */
export interface StoreSettings {
  /** A folder, or `demo`. */
  readonly weights: string;
  readonly hub: HubSettings;
}

/** The settings that concern weights, each an environment variable. */
export const storeEnvironment = {
  /** Model store, hub cache folder, hub for this machine's hub cache, or demo. */
  RETAKE_WEIGHTS: z.string().default("demo"),
  /** The hub, or a mirror of it. */
  HF_ENDPOINT: z.string().optional(),
  /** For model weights, and for LoRAs of requests that bring no token: it opens gated ones to every client. */
  HF_TOKEN: z.string().optional(),
  /** Nothing is fetched from the hub for models. */
  HF_HUB_OFFLINE: flag.default(false),
  /** Seconds that a connection to the hub may be silent. */
  HF_HUB_DOWNLOAD_TIMEOUT: count.default(30),
  /** Private addresses, ranges and hosts that LoRA links, webhooks and a mirror's redirects may reach. */
  RETAKE_ALLOW_ADDRESSES: list.default([]),
  /** They may be http. */
  RETAKE_ALLOW_HTTP: flag.default(false),
};

const environmentSchema = z.object(storeEnvironment);

/**
 * Reads what concerns weights, and nothing else: a PORT that is meant for
 * another program must not be in the way of a download.
 *
 * @throws InputError naming each variable that is wrong
 */
export function parseStoreSettings(
  environment: Readonly<Record<string, string | undefined>>,
): StoreSettings {
  const given = namedInCapitals(environment);
  const parsed = environmentSchema.safeParse(given);
  if (!parsed.success) {
    throw unusable(parsed.error.issues.map((one) => `${one.path.join(".")}: ${one.message}.`));
  }
  const env = parsed.data;
  const hub = hubSettingsSchema.safeParse({
    endpoint: env.HF_ENDPOINT,
    token: env.HF_TOKEN,
    tokenFile: hubTokenFile(given),
    offline: env.HF_HUB_OFFLINE,
    idleMs: env.HF_HUB_DOWNLOAD_TIMEOUT * 1000,
    network: networkOf(env),
  });
  if (!hub.success) {
    const [issue] = hub.error.issues;
    const name = issue?.path[0] === "endpoint" ? "HF_ENDPOINT" : "RETAKE_ALLOW_ADDRESSES";
    throw unusable([`${name}: ${issue?.message}.`]);
  }
  const weights = env.RETAKE_WEIGHTS === "hub" ? hubCacheFolder(given) : env.RETAKE_WEIGHTS;
  return { weights, hub: hub.data };
}

/** What links may reach, as far as it is not the same for all. */
export function networkOf(
  env: Pick<z.output<typeof environmentSchema>, "RETAKE_ALLOW_ADDRESSES" | "RETAKE_ALLOW_HTTP">,
): { schemes: string[]; allow: string[] } {
  return {
    schemes: env.RETAKE_ALLOW_HTTP ? ["https", "http"] : ["https"],
    allow: env.RETAKE_ALLOW_ADDRESSES,
  };
}

function unusable(problems: readonly string[]): InputError {
  return new InputError(
    `The settings can't be used. ${problems.join(" ")} See docs/server.md for all of them.`,
  );
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The folder in which the tools of the hub keep what they fetch, by the variables that they read:
 * https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
 */
function hubCacheFolder(environment: Environment): string {
  const given = environment.HF_HUB_CACHE ?? environment.HUGGINGFACE_HUB_CACHE;
  return given === undefined ? join(hubHome(environment), "hub") : atHome(given);
}

/** The file that `hf auth login` writes a token to. */
function hubTokenFile(environment: Environment): string {
  const given = environment.HF_TOKEN_PATH;
  return given === undefined ? join(hubHome(environment), "token") : atHome(given);
}

function hubHome(environment: Environment): string {
  const caches = environment.XDG_CACHE_HOME ?? join(homedir(), ".cache");
  return atHome(environment.HF_HOME ?? join(caches, "huggingface"));
}

function atHome(path: string): string {
  return resolve(path.replace(/^~(?=$|[/\\])/, () => homedir()));
}
