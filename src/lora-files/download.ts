import { readFile, rm, stat, writeFile } from "node:fs/promises";
import { z } from "zod";
import { CanceledError, InputError } from "../errors.ts";
import { hashFile } from "../files/hash.ts";
import type { Lock } from "../files/lock.ts";
import { publish } from "../files/whole.ts";
import { TransferError } from "../net/errors.ts";
import { redactUrl } from "../net/redact.ts";
import { OtherRangeError, receiveRest } from "../net/resume.ts";
import { type Hop, type SafeRequest, statusError } from "../net/safe-fetch.ts";
import { noteWhole } from "./cache.ts";
import { checkInThread } from "./describe.ts";
import { enoughToRecognise, firstBytesCheck, webPage } from "./recognise.ts";

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
  /** The file's. */
  readonly lock: Lock;
}

/**
 * Downloads a safetensors file, whole or not at all: to a part beside it first,
 * which takes its name once it is checked. Goes on with an earlier part if the
 * server still has the same version.
 *
 * @throws InputError if what comes is not a safetensors file
 * @throws TransferError if it does not come, or with another hash
 */
export async function downloadLora(download: Download): Promise<void> {
  const { url, file, request, hashOf, onProgress, lock } = download;
  const partial = await readPartial(file);
  let hash: string | undefined;
  let total: number | undefined;
  let look: ((piece: Uint8Array) => void) | undefined;
  try {
    await receiveRest({
      url,
      request,
      part: partOf(file),
      begun: partial,
      refusal: (response) => statusError(url, response),
      onAnswer: async ({ response, start, total: bytes }) => {
        total = bytes;
        if (start === 0 && /^text\/html\b/i.test(response.header("content-type") ?? "")) {
          throw notSafetensors(url, webPage);
        }
        if (total !== undefined && total > request.limits.bytes) {
          throw new InputError(
            `${redactUrl(url)} has ${total} bytes, and ${request.limits.bytes} is the most allowed here. Use a smaller LoRA, or ask the operator to raise the limit.`,
          );
        }
        if (start === 0) {
          await stampPartial(file, response.header("etag"), total);
          look = firstBytesCheck(redactUrl(url), (other) => notSafetensors(url, other));
        }
        hash = hashOf(response.hops);
      },
      onPiece: (piece, received) => {
        look?.(piece);
        onProgress({ received, total });
      },
    });
    const { signal } = request;
    await check({ url, file, hash, resumed: partial !== undefined, signal });
    lock.requireHeld();
    await publish(partOf(file), file);
    await noteWhole(file);
  } catch (error) {
    if (error instanceof OtherRangeError) await dropStamp(file);
    const mayGoOn =
      lock.lost.aborted || // then the part is another's
      error instanceof CanceledError ||
      (error instanceof TransferError && error.transient);
    if (!mayGoOn) await dropPartial(file);
    throw error;
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
}

function notSafetensors(url: string, what: string): InputError {
  return new InputError(
    `${redactUrl(url)} gives ${what}, not a safetensors file. Give the download link of the .safetensors file itself; if it needs a login, send hf_token (HF_TOKEN for all requests, and on the command line) for a file of the Hugging Face hub, or put the site's own key into the link for another site.`,
  );
}
