import { InputError } from "../errors.ts";
import { hubFileUrl, tokenOrigins } from "../hub/connection.ts";
import { redactUrl } from "../net/redact.ts";
import { uploadIdPattern } from "../wire/lora-answers.ts";

const prefix = "upload:";

/** What a request writes for an uploaded LoRA. */
export function uploadPath(id: string): string {
  return prefix + id;
}

/** Whether a LoRA's path means an upload, whether or not there is such a one. */
export function isUploadPath(path: string): boolean {
  return path.startsWith(prefix);
}

/** An upload's id is its content's SHA-256 in hex. */
export function isUploadId(id: string): boolean {
  return uploadIdPattern.test(id);
}

/** The id that a path names; undefined if it is no upload's. */
export function uploadIdOf(path: string): string | undefined {
  const id = path.slice(prefix.length);
  return isUploadPath(path) && isUploadId(id) ? id : undefined;
}

/** A LoRA that is not on this machine: a file by its URL, or a repository of the hub. */
export type LoraLink =
  | { readonly kind: "file"; readonly url: string }
  | { readonly kind: "repository"; readonly repository: string; readonly revision: string };

const hubHosts: readonly string[] = ["huggingface.co", "www.huggingface.co"];

/**
 * Whether a request's LoRA path is a link. `HTTPS://` is one too: the
 * reference server takes it for a path, which then never exists.
 */
export function isLoraLink(path: string): boolean {
  return /^(?:https?:\/\/|hf:)/i.test(path);
}

/**
 * Reads a link, `https://…` or `hf:owner/repo[/file][@revision]`, and turns
 * links to the hub's pages into links to its files.
 *
 * @throws InputError saying what to write instead
 */
export function parseLoraLink(path: string, hubEndpoint: string): LoraLink {
  if (/^hf:/i.test(path)) return parseHubName(path, hubEndpoint);
  const url = URL.parse(path);
  if (url === null) {
    throw new InputError(
      "the LoRA's link is not a URL. Give the whole address of a .safetensors file.",
    );
  }
  url.hash = "";
  if (isHub(url, hubEndpoint)) {
    if (url.pathname.includes("/tree/")) {
      throw new InputError(
        `${redactUrl(url)} is a folder's page. Open the file in it and give that link, or write hf:owner/repo/file.safetensors.`,
      );
    }
    url.pathname = url.pathname.replace("/blob/", "/resolve/");
  }
  const extension = /\.(ckpt|pt|pth|bin|pkl|zip|gguf|gz|tar|7z|rar)$/i.exec(url.pathname)?.[0];
  if (extension !== undefined) throw unsafeExtension(redactUrl(url), extension);
  return { kind: "file", url: url.href };
}

/** Whether a URL is one of the hub's: its pages' links are known. */
export function isHub(url: URL, hubEndpoint: string): boolean {
  return hubHosts.includes(url.host) || url.host === new URL(hubEndpoint).host;
}

/** Whether a LoRA's path leads to where a token of the hub may be sent. */
export function isHubLink(path: string, hubEndpoint: string): boolean {
  if (!isLoraLink(path)) return false;
  try {
    const link = parseLoraLink(path, hubEndpoint);
    if (link.kind === "repository") return true;
    return tokenOrigins(hubEndpoint).includes(new URL(link.url).origin);
  } catch (error) {
    // Whoever follows the link is told why that can't be done.
    if (error instanceof InputError) return false;
    throw error;
  }
}

function parseHubName(path: string, hubEndpoint: string): LoraLink {
  const [name = "", revision = "main", ...more] = path.slice("hf:".length).split("@");
  const [owner, repo, ...file] = name.split("/");
  const isName = (part: string | undefined) => part !== undefined && /^\w[\w.-]{0,95}$/.test(part);
  const isPart = (part: string) => part !== "" && part !== "." && part !== "..";
  if (
    !isName(owner) ||
    !isName(repo) ||
    !file.every(isPart) ||
    !/^\w[\w./-]{0,127}$/.test(revision) ||
    more.length > 0
  ) {
    throw new InputError(
      `${JSON.stringify(path)} is not a LoRA on the hub. Write hf:owner/repo, hf:owner/repo/file.safetensors or hf:owner/repo/file.safetensors@revision.`,
    );
  }
  const repository = `${owner}/${repo}`;
  if (file.length === 0) return { kind: "repository", repository, revision };
  const extension = /\.[^./]*$/.exec(file.join("/"))?.[0] ?? "";
  if (extension !== ".safetensors") throw unsafeExtension(path, extension);
  const url = hubFileUrl({ hubEndpoint, repository, revision }, file.join("/"));
  return { kind: "file", url };
}

function unsafeExtension(shown: string, extension: string): InputError {
  return new InputError(
    `${shown} is refused: a ${extension || "nameless"} file can run code when it is loaded, or is not a LoRA. Get its .safetensors version.`,
  );
}
