import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { beforeEach, onTestFinished } from "vitest";
import type { LoraSourceSettings } from "../src/config/network.ts";
import type { LinkSettings } from "../src/config/settings.ts";
import { parseLinkSettings } from "../src/config/settings.ts";
import { type ResolvedLora, resolveLoraSource } from "../src/lora-files/resolve.ts";
import { serve } from "./loopback.ts";

/** A real LoRA, and a place in it where connections are cut. */
export const lora: Buffer = readFileSync(
  fileURLToPath(new URL("../demo/loras/zorple.safetensors", import.meta.url)),
);
export const half: number = lora.length >> 1;

type Handler = (request: IncomingMessage, response: ServerResponse, count: number) => void;

/** A server for one test, and the requests that it got. */
export async function site(
  handler: Handler,
): Promise<{ url: string; requests: IncomingMessage[] }> {
  const requests: IncomingMessage[] = [];
  const url = await serve((request, response) => {
    requests.push(request);
    handler(request, response, requests.length);
  });
  return { url, requests };
}

/** Sends the LoRA as servers do that can go on: with a tag, and ranges for whoever names it. */
export function sendFile(
  request: IncomingMessage,
  response: ServerResponse,
  upTo: number = lora.length,
): void {
  const etag = '"v1"';
  const [, from] = /^bytes=(\d+)-$/.exec(request.headers.range ?? "") ?? [];
  const start = from !== undefined && request.headers["if-range"] === etag ? Number(from) : 0;
  response.writeHead(start === 0 ? 200 : 206, {
    etag,
    "content-length": lora.length - start,
    ...(start === 0 ? {} : { "content-range": `bytes ${start}-${lora.length - 1}/${lora.length}` }),
  });
  if (upTo === lora.length) response.end(lora.subarray(start));
  else sendAndCut(response, lora.subarray(start, upTo), upTo);
}

/** Sends a piece, and cuts the connection when so many bytes arrived: what a client has not read yet is lost with it. */
export function sendAndCut(response: ServerResponse, piece: Buffer, bytes = piece.length): void {
  response.write(piece);
  void arrived(bytes).then(() => response.destroy());
}

let cacheDir = "";

/** When so many bytes are in the part of the test's cache folder. */
async function arrived(bytes: number): Promise<void> {
  const partBytes = () => {
    const part = readdirSync(cacheDir).find((name) => name.endsWith(".part"));
    return part === undefined ? 0 : statSync(join(cacheDir, part)).size;
  };
  while (partBytes() < bytes) await wait(5);
}

interface Changes extends Partial<LoraSourceSettings> {
  readonly hubEndpoint?: string;
  readonly network?: LinkSettings["network"];
}

interface GetOptions extends Changes {
  readonly hfToken?: string;
  readonly signal?: AbortSignal;
}

interface TemporaryCache {
  readonly folder: () => string;
  /** The names of the LoRAs, and of what is left of their downloads, in it. */
  readonly list: () => string[];
  readonly settings: (changes?: Changes) => LinkSettings;
  readonly get: (link: string, options?: GetOptions) => Promise<ResolvedLora>;
}

/** A new cache folder for each test of the file that calls this, and settings that reach loopback. */
export function temporaryCache(): TemporaryCache {
  beforeEach(() => {
    cacheDir = mkdtempSync(join(tmpdir(), "retake-lora-cache-"));
    onTestFinished(() => rmSync(cacheDir, { recursive: true }));
  });
  const settings = ({
    hubEndpoint,
    network = { schemes: ["http"], ports: [], allow: ["127.0.0.1"] },
    ...changes
  }: Changes = {}): LinkSettings => {
    const { hub, loraSource } = parseLinkSettings({ HF_ENDPOINT: hubEndpoint });
    return { hub, network, loraSource: { ...loraSource, cacheDir, retryMs: 5, ...changes } };
  };
  return {
    folder: () => cacheDir,
    list: () =>
      readdirSync(cacheDir)
        .filter((name) => !name.endsWith(".checked"))
        .sort(),
    settings,
    get: (link, { hfToken, signal = new AbortController().signal, ...changes } = {}) =>
      resolveLoraSource(link, settings(changes), {
        ...(hfToken === undefined ? {} : { hfToken }),
        signal,
        onProgress: () => {},
      }),
  };
}
