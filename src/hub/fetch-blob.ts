import { rm } from "node:fs/promises";
import { InputError } from "../errors.ts";
import { hashFile } from "../files/hash.ts";
import type { Lock } from "../files/lock.ts";
import { publish } from "../files/whole.ts";
import { TransferError } from "../net/errors.ts";
import { redactUrl } from "../net/redact.ts";
import { OtherRangeError, receiveRest } from "../net/resume.ts";
import { retryTransfers } from "../net/retry.ts";
import { fileBytes, partOf } from "./cache-layout.ts";
import { type HubConnection, hubFileUrl, longestWaitMs, requestTo } from "./connection.ts";
import type { HubFile } from "./file-list.ts";
import { hubError } from "./hub-error.ts";

export interface Blob {
  readonly repository: string;
  readonly commit: string;
  readonly file: HubFile;
  /** Where it goes once it is whole; `<target>.incomplete` until then. */
  readonly target: string;
  /** The repository's. */
  readonly lock: Lock;
}

/** What came is not what the hub's list says: none of it is of use. */
class WrongBytesError extends InputError {}

const retries = 4;
const headersMs = 30_000;
/** One connection may last as long as it brings something: the longest time that a timer can hold. */
const longestMs = 2 ** 31 - 1;
/** An attempt that brought this much is no failure: the next one begins at once. */
const progressBytes = 1_000_000;

/**
 * Fetches one file of a repository at a commit. It goes on with what an earlier
 * attempt left, and takes its name only when what lies on the disk has the right
 * length and hash.
 *
 * @param onBytes is told how many more there are; fewer if some were thrown away
 * @throws InputError if the hub does not give it, or gives other bytes
 * @throws TransferError if it does not come
 */
export async function fetchBlob(
  hub: HubConnection,
  blob: Blob,
  onBytes: (count: number) => void,
): Promise<void> {
  const { file, target } = blob;
  const part = partOf(target);
  try {
    for (let tries = 1; ; tries++) {
      await fetchPart(hub, blob, part, onBytes);
      const found = await hashFile(part, file.kind, hub.signal);
      if (found === file.hash) break;
      await rm(part);
      onBytes(-file.bytes);
      if (tries === 2) {
        throw new WrongBytesError(
          `${redactUrl(urlOf(hub, blob))} came twice with other bytes than it should have (${file.kind} ${found} instead of ${file.hash}). Nothing of it was kept. Check the mirror or proxy in between (HF_ENDPOINT) and this machine's disk and memory.`,
        );
      }
    }
  } catch (error) {
    if (error instanceof WrongBytesError) await rm(part, { force: true });
    throw error;
  }
  blob.lock.requireHeld();
  await publish(part, target);
}

async function fetchPart(
  hub: HubConnection,
  blob: Blob,
  part: string,
  onBytes: (count: number) => void,
): Promise<void> {
  const { signal } = hub;
  const attempt = async () => {
    for (;;) {
      const before = (await fileBytes(part)) ?? 0;
      try {
        return await fetchRest(hub, blob, part, onBytes);
      } catch (error) {
        if (error instanceof OtherRangeError) {
          const { file } = blob;
          if (error.total !== undefined && error.total !== file.bytes) {
            throw otherSize(urlOf(hub, blob), file, error.total);
          }
          await rm(part, { force: true });
          onBytes(-before);
          throw error;
        }
        const now = (await fileBytes(part)) ?? 0;
        const mayPass = error instanceof TransferError && error.transient;
        if (!mayPass || now - before < progressBytes) throw error;
        if (error.retryAfterMs !== undefined) throw error;
      }
    }
  };
  await retryTransfers(attempt, {
    retries,
    firstWaitMs: hub.settings.retryMs,
    totalMs: longestMs,
    longestWaitMs,
    signal,
  });
}

/** One request for what is missing of a part. It belongs to a hash, so no version has to be compared. */
async function fetchRest(
  hub: HubConnection,
  blob: Blob,
  part: string,
  onBytes: (count: number) => void,
): Promise<void> {
  const { file, repository, commit: revision } = blob;
  const url = urlOf(hub, blob);
  let have = (await fileBytes(part)) ?? 0;
  if (have > file.bytes) {
    await rm(part);
    onBytes(-have);
    have = 0;
  }
  if (have === file.bytes && have > 0) return;
  const { idleMs, endpoint } = hub.settings;
  const bytes = Number.MAX_SAFE_INTEGER;
  await receiveRest({
    url,
    request: requestTo(hub, { headersMs, idleMs, totalMs: longestMs, bytes }),
    part,
    begun: have === 0 ? undefined : { bytes: have, total: file.bytes },
    total: file.bytes,
    refusal: (response) => {
      const hasToken = hub.token !== undefined;
      return hubError(response, { url, endpoint, repository, revision, hasToken });
    },
    onAnswer: ({ response, start }) => {
      if (start < have) onBytes(-have);
      const announced = start + Number(response.header("content-length") ?? 0);
      if (announced > file.bytes) throw otherSize(url, file, announced);
    },
    onPiece: (piece, end) => {
      if (end > file.bytes) throw otherSize(url, file, end);
      onBytes(piece.length);
    },
  });
}

function otherSize(url: string, { bytes }: HubFile, found: number): WrongBytesError {
  return new WrongBytesError(
    `${redactUrl(url)} has ${found} bytes or more, and the hub's list says ${bytes}. One of them is wrong: try again, or use another mirror (HF_ENDPOINT).`,
  );
}

function urlOf({ settings }: HubConnection, { repository, commit, file }: Blob): string {
  return hubFileUrl({ hubEndpoint: settings.endpoint, repository, revision: commit }, file.path);
}
