import { open, readFile, rm, stat, writeFile } from "node:fs/promises";
import { z } from "zod";
import { CanceledError, InputError } from "../errors.ts";
import { hashFile } from "../files/hash.ts";
import { publish } from "../files/whole.ts";
import { TransferError } from "../net/errors.ts";
import { redactUrl } from "../net/redact.ts";
import {
  type Hop,
  type SafeRequest,
  type SafeResponse,
  safeFetch,
  statusError,
} from "../net/safe-fetch.ts";
import { noteWhole } from "./cache.ts";
import { checkInThread } from "./describe.ts";
import { enoughToRecognise, recogniseOther, webPage } from "./recognise.ts";

// A download is written to `<file>.part`, one writer at a time under the
// file's lock. `<file>.part.json` says which version of the remote file it is.

/** What is known of an unfinished download: enough to ask for its rest. */
interface Partial {
  readonly bytes: number;
  readonly etag: string;
  readonly total: number;
}

const stampSchema = z.strictObject({ etag: z.string(), total: z.int().min(1) });

function partOf(file: string): string {
  return `${file}.part`;
}

/** The unfinished download of a file; undefined if there is none to go on with. */
async function readPartial(file: string): Promise<Partial | undefined> {
  try {
    const stamp = stampSchema.parse(JSON.parse(await readFile(stampOf(file), "utf8")));
    const { size } = await stat(partOf(file));
    return size >= enoughToRecognise && size < stamp.total ? { bytes: size, ...stamp } : undefined;
  } catch {
    // Missing, or cut off by a crash: the download begins anew.
    return undefined;
  }
}

/** Notes the version that follows, before its first byte is written; without one nothing is resumed. */
async function stampPartial(
  file: string,
  etag: string | undefined,
  total: number | undefined,
): Promise<void> {
  await rm(stampOf(file), { force: true });
  // A weak tag may be the same for other bytes.
  if (etag === undefined || total === undefined || !/^"[^"]+"$/.test(etag)) return;
  await writeFile(stampOf(file), JSON.stringify({ etag, total }));
}

/** Deletes an unfinished download that is of no use. */
async function dropPartial(file: string): Promise<void> {
  await rm(partOf(file), { force: true });
  await dropStamp(file);
}

/** Forgets how to go on, as the part is whole or of another version. */
async function dropStamp(file: string): Promise<void> {
  await rm(stampOf(file), { force: true });
}

function stampOf(file: string): string {
  return `${partOf(file)}.json`;
}

export interface Progress {
  readonly received: number;
  readonly total: number | undefined;
}

export interface Download {
  readonly url: string;
  /** Where it goes. */
  readonly file: string;
  readonly request: SafeRequest & { readonly signal: AbortSignal };
  /** The file's SHA-256, if these answers tell it. */
  readonly hashOf: (hops: readonly Hop[]) => string | undefined;
  readonly onProgress: (progress: Progress) => void;
}

/**
 * Downloads a safetensors file, whole or not at all: to a part beside it first,
 * which takes its name once it is checked. Goes on with an earlier part if the
 * server still has the same version. The caller holds the file's lock.
 *
 * @throws InputError if what comes is not a safetensors file
 * @throws TransferError if it does not come, or with another hash
 */
export async function downloadLora(download: Download): Promise<void> {
  const { url, file, request, hashOf, onProgress } = download;
  const partial = await readPartial(file);
  const range: Record<string, string> =
    partial === undefined ? {} : { range: `bytes=${partial.bytes}-`, "if-range": partial.etag };
  let hash: string | undefined;
  try {
    await safeFetch(url, { ...request, headers: range }, async (response) => {
      const start = await startOf(response, partial, url, file);
      const total = totalOf(response, start);
      if (total !== undefined && total > request.limits.bytes) {
        throw new InputError(
          `${redactUrl(url)} has ${total} bytes, and ${request.limits.bytes} is the most allowed here. Use a smaller LoRA, or ask the operator to raise the limit.`,
        );
      }
      if (start === 0) await stampPartial(file, response.header("etag"), total);
      await receive(response, { url, file, start, total, onProgress });
      hash = hashOf(response.hops);
    });
    const { signal } = request;
    await check({ url, file, hash, resumed: partial !== undefined, signal });
  } catch (error) {
    const mayGoOn =
      error instanceof CanceledError || (error instanceof TransferError && error.transient);
    if (!mayGoOn) await dropPartial(file);
    throw error;
  }
}

/** At which byte the answer begins. */
async function startOf(
  response: SafeResponse,
  partial: Partial | undefined,
  url: string,
  file: string,
): Promise<number> {
  const { status, header } = response;
  if (status === 200) {
    if (/^text\/html\b/i.test(header("content-type") ?? "")) throw notSafetensors(url, webPage);
    return 0;
  }
  if (partial !== undefined && (status === 206 || status === 416)) {
    const expected = `bytes ${partial.bytes}-${partial.total - 1}/${partial.total}`;
    const sameVersion = (header("etag") ?? partial.etag) === partial.etag;
    if (status === 206 && header("content-range") === expected && sameVersion) return partial.bytes;
    await dropStamp(file);
    throw new TransferError(`${redactUrl(url)} changed while it was downloaded. Try again.`, {
      transient: true,
    });
  }
  throw statusError(url, response);
}

function totalOf({ header }: SafeResponse, start: number): number | undefined {
  const length = header("content-length");
  return length === undefined ? undefined : start + Number(length);
}

interface Receiving {
  readonly url: string;
  readonly file: string;
  readonly start: number;
  readonly total: number | undefined;
  readonly onProgress: (progress: Progress) => void;
}

async function receive(
  response: SafeResponse,
  { url, file, start, total, onProgress }: Receiving,
): Promise<void> {
  const handle = await open(partOf(file), start === 0 ? "w" : "a");
  try {
    let received = start;
    let head = Buffer.alloc(0);
    for await (const chunk of response.body) {
      if (received < enoughToRecognise) {
        head = Buffer.concat([head, chunk]).subarray(0, enoughToRecognise);
        const other = head.length < enoughToRecognise ? undefined : recogniseOther(head);
        if (other !== undefined) throw notSafetensors(url, other);
      }
      // Not write(): on a full disk that writes a part, says how much, and does not fail.
      await handle.writeFile(chunk);
      received += chunk.length;
      onProgress({ received, total });
    }
    if (total !== undefined && received !== total) {
      throw new TransferError(`${redactUrl(url)} ended early. Try again.`, { transient: true });
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

interface Received {
  readonly url: string;
  readonly file: string;
  /** What its SHA-256 has to be; undefined if nobody told. */
  readonly hash: string | undefined;
  readonly resumed: boolean;
  readonly signal: AbortSignal;
}

async function check({ url, file, hash, resumed, signal }: Received): Promise<void> {
  const part = partOf(file);
  // From here on it is a whole file or none: another attempt must not add to it.
  await dropStamp(file);
  try {
    await checkInThread(part, redactUrl(url), signal);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    const { message } = error;
    // Two parts that don't fit together: one download from the start settles it.
    if (resumed) throw new TransferError(message, { transient: true, cause: error });
    throw new InputError(message, { cause: error });
  }
  if (hash !== undefined && (await hashFile(part, "sha256")) !== hash) {
    await dropPartial(file);
    throw new TransferError(
      `${redactUrl(url)} gave other bytes than the hub says it holds: their SHA-256 is not ${hash}. Try again; if it stays so, something on the way changes files.`,
      { transient: resumed },
    );
  }
  await publish(part, file);
  await noteWhole(file);
}

function notSafetensors(url: string, what: string): InputError {
  return new InputError(
    `${redactUrl(url)} gives ${what}, not a safetensors file. Give the download link of the .safetensors file itself; if it needs a login, send hf_token (HF_TOKEN for all requests, and on the command line) for a file of the Hugging Face hub, or put the site's own key into the link for another site.`,
  );
}
