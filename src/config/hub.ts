import { homedir } from "node:os";
import { join } from "node:path";

/** Where model weights come from. */
export interface HubSettings {
  /** HF_ENDPOINT: the hub, or a mirror, which may be private and without TLS: the operator chose it. */
  readonly endpoint: string;
  /** HF_TOKEN. Sent to the endpoint's origin alone, for models and for LoRAs. */
  readonly token: string | undefined;
  /** The file in which `hf auth login` keeps a token. */
  readonly tokenFile: string;
  /** HF_HUB_OFFLINE: nothing is fetched. */
  readonly offline: boolean;
  /** A connection that sends nothing for so long is given up and begun again. */
  readonly idleMs: number;
  /** Wait before the second attempt; doubled before each later one. */
  readonly retryMs: number;
}

/** The user's folders, by the variables that name them. */
interface Folders {
  readonly XDG_CACHE_HOME?: string | undefined;
  readonly HF_HOME?: string | undefined;
  readonly HF_HUB_CACHE?: string | undefined;
  readonly HUGGINGFACE_HUB_CACHE?: string | undefined;
  readonly HF_TOKEN_PATH?: string | undefined;
}

export function userCacheFolder({ XDG_CACHE_HOME }: Folders): string {
  return XDG_CACHE_HOME ?? join(homedir(), ".cache");
}

/**
 * The folder in which the tools of the hub keep what they fetch, by the variables that they read:
 * https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
 */
export function hubCacheFolder(env: Folders): string {
  return env.HF_HUB_CACHE ?? env.HUGGINGFACE_HUB_CACHE ?? join(hubHome(env), "hub");
}

/** The file that `hf auth login` writes a token to. */
export function hubTokenFile(env: Folders): string {
  return env.HF_TOKEN_PATH ?? join(hubHome(env), "token");
}

function hubHome(env: Folders): string {
  return env.HF_HOME ?? join(userCacheFolder(env), "huggingface");
}
