import { open, rm } from "node:fs/promises";
import { InputError } from "../errors.ts";
import { hashFile } from "../files/hash.ts";
import { publish } from "../files/whole.ts";
import { TransferError } from "../net/errors.ts";
import { redactUrl } from "../net/redact.ts";
import { retryTransfers } from "../net/retry.ts";
import { type SafeResponse, safeFetch } from "../net/safe-fetch.ts";
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
}

/** What came is not what the hub's list says: none of it is of use. */
class WrongBytesError extends InputError {}

/** The rest of a part can't be had here: it has to come from its start. */
class OtherRangeError extends TransferError {}

const retries = 4;
const headersMs = 30_000;
/** One connection may last as long as it brings something: the longest time that a timer can hold. */
const longestMs = 2 ** 31 - 1;
/** An attempt that brought this much is no failure: the next one begins at once. */
const progressBytes = 1_000_000;

/**
 * Fetches one file of a repository at a commit. It goes on with what an earlier
 * attempt left, and takes its name only when what lies on the disk has the right
 * length and hash. The caller holds the repository's lock.
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

/** One request for what is missing of a part, written behind it. */
async function fetchRest(
  hub: HubConnection,
  blob: Blob,
  part: string,
  onBytes: (count: number) => void,
): Promise<void> {
  const { file } = blob;
  const url = urlOf(hub, blob);
  let have = (await fileBytes(part)) ?? 0;
  if (have > file.bytes) {
    await rm(part);
    onBytes(-have);
    have = 0;
  }
  if (have === file.bytes && have > 0) return;
  const { idleMs } = hub.settings;
  const bytes = Number.MAX_SAFE_INTEGER;
  const request = {
    ...requestTo(hub, { headersMs, idleMs, totalMs: longestMs, bytes }),
    headers: have === 0 ? {} : { range: `bytes=${have}-` },
  };
  await safeFetch(url, request, async (response) => {
    const start = startOf(response, hub, blob, have);
    if (start < have) onBytes(-have);
    const announced = Number(response.header("content-length") ?? file.bytes - start);
    if (announced > file.bytes - start) throw otherSize(url, file, start + announced);
    const handle = await open(part, start === 0 ? "w" : "a");
    try {
      let received = start;
      for await (const chunk of response.body) {
        received += chunk.length;
        if (received > file.bytes) throw otherSize(url, file, received);
        // Not write(): on a full disk that writes a part, says how much, and does not fail.
        await handle.writeFile(chunk);
        onBytes(chunk.length);
      }
      if (received !== file.bytes) {
        throw new TransferError(
          `${redactUrl(url)} ended after ${received} of ${file.bytes} bytes. Try again.`,
          { transient: true },
        );
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
  });
}

/**
 * At which byte the answer begins. A part belongs to a hash, and a commit's
 * files never change: no version has to be compared here.
 */
function startOf(response: SafeResponse, hub: HubConnection, blob: Blob, have: number): number {
  const { status, header } = response;
  const { file, repository, commit: revision } = blob;
  const url = urlOf(hub, blob);
  if (status === 200) return 0;
  if (status === 206 && header("content-range") === `bytes ${have}-${file.bytes - 1}/${file.bytes}`)
    return have;
  if (status === 206 || status === 416) {
    const total = Number(/\/(\d+)$/.exec(header("content-range") ?? "")?.[1] ?? Number.NaN);
    if (total !== file.bytes && !Number.isNaN(total)) throw otherSize(url, file, total);
    throw new OtherRangeError(
      `${redactUrl(url)} answers with another range than asked for. Try again.`,
      { transient: true },
    );
  }
  const hasToken = hub.token !== undefined;
  throw hubError(response, {
    url,
    endpoint: hub.settings.endpoint,
    repository,
    revision,
    hasToken,
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
