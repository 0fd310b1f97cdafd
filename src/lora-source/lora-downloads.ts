import { createHash, randomUUID } from "node:crypto";
import { mkdir, open, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import pRetry from "p-retry";
import { InputError } from "../errors.ts";
import { redactUrl } from "../net/redact.ts";
import type { SafeFetcher, SafeResponse } from "../net/safe-fetch.ts";
import { FetchError } from "../net/safe-fetch.ts";
import { readSafetensors } from "../weights/safetensors.ts";

export interface DownloadSettings {
  readonly folder: string;
  /** Bytes of one file. */
  readonly maxBytes: number;
  /** Bytes of all files together; the one unused for longest goes first. */
  readonly cacheBytes: number;
}

const retries = 2;
const longestRetryAfterSeconds = 30;
/** Enough to tell a web page, a zip or a pickle from weights. */
const sniffedBytes = 512;

/** LoRAs fetched from URLs, kept on disk. Several processes may share the folder. */
export class LoraDownloads {
  readonly #fetcher: SafeFetcher;
  readonly #settings: DownloadSettings;
  /** One download a file, however many requests want it. */
  readonly #running = new Map<string, Promise<string>>();

  constructor(fetcher: SafeFetcher, settings: DownloadSettings) {
    this.#fetcher = fetcher;
    this.#settings = settings;
  }

  /**
   * The file of a LoRA's URL, from the cache or fetched.
   *
   * @throws InputError (FetchError) naming the URL without its secrets, and what to do
   */
  async get(url: string, signal: AbortSignal): Promise<string> {
    const resolved = resolveLink(url);
    const file = join(this.#settings.folder, cacheName(resolved));
    const running = this.#running.get(file);
    if (running !== undefined) return running;
    const getting = this.#fromCacheOrNet(resolved, file, signal).finally(() =>
      this.#running.delete(file),
    );
    this.#running.set(file, getting);
    return getting;
  }

  async #fromCacheOrNet(url: string, file: string, signal: AbortSignal): Promise<string> {
    await mkdir(this.#settings.folder, { recursive: true });
    if (await isSound(file)) {
      const now = new Date();
      await utimes(file, now, now);
      return file;
    }
    await rm(file, { force: true });
    await this.#makeRoom();
    await pRetry(() => this.#download(url, file, signal), {
      retries,
      minTimeout: 1000,
      signal,
      shouldRetry: ({ error }) => error instanceof FetchError && error.transient,
    });
    return file;
  }

  async #download(url: string, file: string, signal: AbortSignal): Promise<void> {
    const response = await this.#fetcher.fetch(url, { method: "GET", signal });
    const temporary = `${file}.${randomUUID()}.tmp`;
    try {
      await requireFile(url, response);
      await this.#write(url, response, temporary);
      await requireWeights(url, temporary);
      await rename(temporary, file);
    } finally {
      await response.body.dump().catch(() => {});
      await rm(temporary, { force: true });
    }
  }

  async #write(url: string, { headers, body }: SafeResponse, temporary: string): Promise<void> {
    const { maxBytes } = this.#settings;
    const declared = Number(headers["content-length"] ?? Number.NaN);
    const tooLarge = () =>
      new FetchError(
        url,
        `is larger than ${maxBytes} bytes, the most that this server takes.`,
        false,
      );
    if (declared > maxBytes) throw tooLarge();
    const handle = await open(temporary, "wx");
    let written = 0;
    try {
      for await (const chunk of body) {
        const bytes = Buffer.from(chunk);
        if (written === 0) requireBinary(url, bytes.subarray(0, sniffedBytes));
        written += bytes.length;
        if (written > maxBytes) throw tooLarge();
        await handle.writeFile(bytes);
      }
      await handle.sync();
    } catch (error) {
      if (error instanceof InputError) throw error;
      throw new FetchError(url, "was cut off in the middle.", true, { cause: error });
    } finally {
      await handle.close();
    }
    if (!Number.isNaN(declared) && written !== declared) {
      throw new FetchError(url, `was cut off: ${written} of ${declared} bytes came.`, true);
    }
  }

  async #makeRoom(): Promise<void> {
    const { folder, maxBytes, cacheBytes } = this.#settings;
    const files: { path: string; bytes: number; used: number }[] = [];
    for (const name of await readdir(folder)) {
      const path = join(folder, name);
      const found = await stat(path).catch(() => undefined);
      if (found?.isFile() === true && !name.endsWith(".tmp"))
        files.push({ path, bytes: found.size, used: found.mtimeMs });
    }
    let total = files.reduce((sum, { bytes }) => sum + bytes, 0);
    for (const { path, bytes } of files.toSorted((a, b) => a.used - b.used)) {
      if (total + Math.min(maxBytes, cacheBytes) <= cacheBytes || total === 0) return;
      // A worker that has it open keeps its content until it is done.
      await rm(path, { force: true });
      total -= bytes;
    }
  }
}

/** A link to the hub's page about a file becomes one to the file. */
function resolveLink(url: string): string {
  if (!URL.canParse(url)) throw new FetchError(url, "is no URL.", false);
  const parsed = new URL(url);
  if (!["huggingface.co", "www.huggingface.co"].includes(parsed.hostname)) return url;
  if (parsed.pathname.includes("/tree/")) {
    throw new FetchError(
      url,
      "is a folder's page. Open the LoRA's .safetensors file there and give its link.",
      false,
    );
  }
  parsed.pathname = parsed.pathname.replace("/blob/", "/resolve/");
  return parsed.href;
}

/** Readable, and another one for each URL, query included. */
function cacheName(url: string): string {
  const hash = createHash("sha256").update(url).digest("hex").slice(0, 16);
  const name = decodeURIComponent(
    basename(new URL(url).pathname).replaceAll(/%(?![0-9a-f]{2})/gi, "_"),
  );
  const stem = name.slice(0, name.length - extname(name).length).replaceAll(/[^\w.-]/g, "_");
  return `${stem.slice(0, 80) || "lora"}_${hash}.safetensors`;
}

async function isSound(file: string): Promise<boolean> {
  return readSafetensors(file).then(
    () => true,
    () => false,
  );
}

/** What a status means for the user. */
async function requireFile(url: string, { statusCode, headers }: SafeResponse): Promise<void> {
  const host = new URL(url).host;
  if (statusCode === 200) {
    if (headers["content-encoding"] !== undefined && headers["content-encoding"] !== "identity")
      throw new FetchError(url, "comes compressed, which a weights file never is.", false);
    return;
  }
  if (statusCode === 401 || statusCode === 403) {
    throw new FetchError(
      url,
      `answers ${statusCode}: it asks for a login, or that its terms are accepted on ${host}. Use a link that needs none, or put the file into the server's LoRA folder.`,
      false,
    );
  }
  if (statusCode === 404 || statusCode === 410)
    throw new FetchError(
      url,
      `answers ${statusCode}: there is no such file. Check the link.`,
      false,
    );
  if (statusCode === 429) {
    const seconds = Math.min(Number(headers["retry-after"]) || 1, longestRetryAfterSeconds);
    await new Promise((done) => setTimeout(done, seconds * 1000));
    throw new FetchError(url, `answers 429: ${host} asks for fewer requests.`, true);
  }
  throw new FetchError(url, `answers ${statusCode}.`, statusCode >= 500);
}

/** Says what came in place of weights, before gigabytes of it are kept. */
function requireBinary(url: string, start: Buffer): void {
  const text = start.toString("latin1").trimStart().toLowerCase();
  if (/^<(?:!doctype|html|head|\?xml)/.test(text)) {
    throw new FetchError(
      url,
      "gives a web page, not a file: a login or terms page, or a page about the file. Give the file's own download link.",
      false,
    );
  }
  const kind = start.subarray(0, 2).toString("latin1");
  if (kind === "PK")
    throw new FetchError(
      url,
      "is a zip archive or a PyTorch file. Give a .safetensors file.",
      false,
    );
  if (start[0] === 0x80 && start[1]! <= 5 && start[1]! >= 2 && start[2] !== 0)
    throw new FetchError(
      url,
      "is a Python pickle, which can run code. Give a .safetensors file.",
      false,
    );
  if (start[0] === 0x1f && start[1] === 0x8b)
    throw new FetchError(url, "is compressed. Give the .safetensors file itself.", false);
}

async function requireWeights(url: string, file: string): Promise<void> {
  try {
    await readSafetensors(file);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    const why = error.message.replaceAll(file, redactUrl(url));
    throw new FetchError(url, `is no sound .safetensors file: ${why}`, false, { cause: error });
  }
}
