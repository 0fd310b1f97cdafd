import { createHash, createHmac } from "node:crypto";

const hashLength = 16;

/**
 * The name of a link's file in the cache: the reference server's, so that what
 * it has downloaded is found. MD5 only names here; it proves nothing.
 *
 * What only a token opened is named after the token too: another's request for
 * the same link must not find it. The token can't be read from the name.
 */
export function cacheName(url: string, token?: string): string {
  const hash =
    token === undefined
      ? createHash("md5").update(url).digest("hex")
      : createHmac("sha256", token).update(url).digest("hex");
  const stem = stemOf(url);
  return `${stem === "" ? "lora" : stem}_${hash.slice(0, hashLength)}.safetensors`;
}

/** The cached file that a file in the folder belongs to; undefined for what is not ours. */
export function cachedFileOf(name: string): string | undefined {
  return /^((?:.+_[0-9a-f]{16}|upload-[0-9a-f]{64})\.safetensors)(?:\.part|\.part\.json)?$/.exec(
    name,
  )?.[1];
}

function stemOf(url: string): string {
  const last = new URL(url).pathname.split("/").at(-1) ?? "";
  let name = last;
  try {
    name = decodeURIComponent(last);
  } catch {
    // Not UTF-8 when decoded: the name as it stands will do.
  }
  return name
    .replace(/\.safetensors$/i, "")
    .replaceAll(/[^\w.-]/g, "_")
    .replace(/^\.+/, "")
    .slice(0, 100);
}
