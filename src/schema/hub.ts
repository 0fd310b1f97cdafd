import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { z } from "zod";
import { networkPolicySchema } from "./network.ts";

/** Where model weights come from. */
export const hubSettingsSchema = z.strictObject({
  /** HF_ENDPOINT: the hub, or a mirror, which may be private and without TLS: the operator chose it. */
  endpoint: z.url({ protocol: /^https?$/ }).default("https://huggingface.co"),
  /** HF_TOKEN. Sent to the endpoint's origin alone. */
  token: z.string().optional(),
  /** The file in which `hf auth login` keeps a token. */
  tokenFile: z.string(),
  /** HF_HUB_OFFLINE: nothing is fetched. */
  offline: z.boolean().default(false),
  /** A connection that sends nothing for so long is given up and begun again. */
  idleMs: z.int().min(1).default(30_000),
  /** Wait before the second attempt; doubled before each later one. */
  retryMs: z.int().min(1).default(1000),
  /** For what the endpoint redirects to. */
  network: networkPolicySchema.prefault({}),
});
export type HubSettings = Readonly<z.output<typeof hubSettingsSchema>>;

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The folder in which the tools of the hub keep what they fetch, by the variables that they read:
 * https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
 */
export function hubCacheFolder(environment: Environment): string {
  const given = set(environment.HF_HUB_CACHE) ?? set(environment.HUGGINGFACE_HUB_CACHE);
  return given === undefined ? join(hubHome(environment), "hub") : atHome(given);
}

/** The file that `hf auth login` writes a token to. */
export function hubTokenFile(environment: Environment): string {
  const given = set(environment.HF_TOKEN_PATH);
  return given === undefined ? join(hubHome(environment), "token") : atHome(given);
}

function hubHome(environment: Environment): string {
  const caches = set(environment.XDG_CACHE_HOME) ?? join(homedir(), ".cache");
  return atHome(set(environment.HF_HOME) ?? join(caches, "huggingface"));
}

function atHome(path: string): string {
  return resolve(path.replace(/^~(?=$|[/\\])/, () => homedir()));
}

function set(value: string | undefined): string | undefined {
  return value === "" ? undefined : value;
}
