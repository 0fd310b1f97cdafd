import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import { withMetadata } from "./lora-header.ts";
import { lora } from "./lora-site.ts";
import { TestServer } from "./test-server.ts";

export const octets = { "content-type": "application/octet-stream" };

export function idOf(content: Buffer): string {
  return createHash("sha256").update(content).digest("hex");
}

/** Of the demonstration's LoRA. */
export const loraId: string = idOf(lora);

/** A LoRA like the demonstration's with another name in its header: other content, as long or longer. */
export function variant(name: string): Buffer {
  return withMetadata(lora, { name });
}

/** The demonstration's LoRA with a NaN as its last value. */
export function diverged(): Buffer {
  const content = Buffer.from(lora);
  content.writeUInt16LE(0x7fc0, content.length - 2);
  return content;
}

export interface Answer {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: an answer of any shape
  readonly body: any;
  readonly headers: Headers;
}

/** Uploads what a test has to send; `path` may carry a query. */
export async function postLora(
  { url }: { readonly url: string },
  content: Buffer | FormData | ReadableStream,
  headers: Record<string, string> = content instanceof FormData ? {} : octets,
  path = "/v1/loras",
): Promise<Answer> {
  const body = Buffer.isBuffer(content) ? new Uint8Array(content) : content;
  // A connection of its own: one that a refused body has closed fails the next request on it.
  const alone = { ...headers, connection: "close" };
  const init = { method: "POST", headers: alone, body, duplex: "half" as const };
  const response = await fetch(new URL(path, url), init);
  return { status: response.status, body: await response.json(), headers: response.headers };
}

/** Names of the files that a server keeps or is receiving. */
export function keptIn(folder: string): string[] {
  return readdirSync(join(folder, "data", "uploads")).sort();
}

/** A server for a whole test file; what its tests send it, and what they find in its folder. */
export async function uploadServer() {
  const folder = mkdtempSync(join(tmpdir(), "retake-uploads-"));
  const server = await TestServer.start(folder, { RETAKE_MAX_LORA: "2000000" });
  afterAll(async () => {
    await server.stop();
    rmSync(folder, { recursive: true });
  });
  return {
    folder,
    server,
    post: (
      content: Parameters<typeof postLora>[1],
      headers?: Record<string, string>,
      path?: string,
    ) => postLora(server, content, headers, path),
    kept: () => keptIn(folder),
  };
}
