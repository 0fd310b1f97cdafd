import { InputError } from "../errors.ts";
import { type HubRepository, hubFileUrl } from "../hub/connection.ts";
import { listNames } from "../hub/file-list.ts";
import { TooLargeError } from "../net/errors.ts";
import type { Hop, SafeRequest } from "../net/safe-fetch.ts";
import { isHub } from "./lora-path.ts";

const mostNamed = 10;

/**
 * The link of the only safetensors file that a repository holds.
 *
 * @throws InputError naming the files if there are none or several
 */
export async function onlyFileOf(hub: HubRepository, request: SafeRequest): Promise<string> {
  const { repository, revision } = hub;
  const names = await listNames(hub, request).catch((error: unknown) => {
    if (!(error instanceof TooLargeError)) throw error;
    throw new InputError(
      `${repository} on the hub holds too many files to look for a LoRA among them. Name it: hf:${repository}/FILE.safetensors.`,
      { cause: error },
    );
  });
  const files = names.filter((name) => name.endsWith(".safetensors"));
  const [only] = files;
  if (files.length === 1 && only !== undefined) return hubFileUrl(hub, only);
  if (only === undefined) {
    throw new InputError(
      `${repository} on the hub holds no .safetensors file at ${revision}. Name another repository or revision.`,
    );
  }
  const named = files.slice(0, mostNamed).join(", ");
  const more = files.length > mostNamed ? ` and ${files.length - mostNamed} more` : "";
  throw new InputError(
    `${repository} on the hub holds ${files.length} .safetensors files: ${named}${more}. Name one: hf:${repository}/${only}.`,
  );
}

/**
 * The SHA-256 of a file, if the hub itself told it on the way there: storage
 * elsewhere has tags of other meanings.
 * https://huggingface.co/docs/huggingface_hub/package_reference/file_download#huggingface_hub.get_hf_file_metadata
 */
export function hashFromHub(hops: readonly Hop[], hubEndpoint: string): string | undefined {
  for (const { url, header } of hops) {
    if (!isHub(url, hubEndpoint)) continue;
    const tag = header("x-linked-etag") ?? header("etag") ?? "";
    const [, hash] = /^(?:W\/)?"?([0-9a-f]{64})"?$/i.exec(tag) ?? [];
    if (hash !== undefined) return hash.toLowerCase();
  }
  return undefined;
}
