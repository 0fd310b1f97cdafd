import type { FileHandle } from "node:fs/promises";
import { open, rm, stat } from "node:fs/promises";
import { writeAt } from "../files/whole.ts";
import { TransferError } from "./errors.ts";
import { redactUrl } from "./redact.ts";
import { type SafeRequest, type SafeResponse, safeFetch } from "./safe-fetch.ts";

/** What an earlier request brought of a file. */
interface Begun {
  readonly bytes: number;
  /** Length of the whole file. */
  readonly total: number;
  /** The version that it is of; left out where a URL's content never changes. */
  readonly etag?: string;
}

interface Transfer {
  readonly url: string;
  readonly request: SafeRequest;
  /** The file that grows; one writer at a time under its lock. */
  readonly part: string;
  /** What is in the part; undefined if it is of no use: then it is begun anew. */
  readonly begun: Begun | undefined;
  /** Length of the whole file, if it is known before. */
  readonly total?: number;
  /** The error for an answer without the file. */
  readonly refusal: (response: SafeResponse) => Error;
  /** Called before the first byte is written; throws if the answer is unwanted. */
  readonly onAnswer: (answer: Answer) => Promise<void> | void;
  /** Called before a piece is written; throws if it is unwanted. @param end length of the part with it */
  readonly onPiece: (piece: Uint8Array, end: number) => void;
}

interface Answer {
  readonly response: SafeResponse;
  /** At which byte of the file it begins. */
  readonly start: number;
  /** Length of the whole file; undefined if nobody says. */
  readonly total: number | undefined;
}

/** The rest of what was begun can't be had: the other side has another version, or sends another range. */
export class OtherRangeError extends TransferError {
  /** Length of the file that the other side has, if it says so. */
  readonly total: number | undefined;

  constructor(url: string, total: number | undefined) {
    super(`${redactUrl(url)} has changed, or sends another range than asked for. Try again.`, {
      transient: true,
    });
    this.total = total;
  }
}

/**
 * One request for what is missing of a file. When it returns, the part is whole and on the disk. What came before a
 * failure stays in the part.
 *
 * @throws OtherRangeError if the part can't be gone on with
 * @throws TransferError if the rest does not come
 */
export async function receiveRest(transfer: Transfer): Promise<void> {
  const { url, request, part, begun, onAnswer, onPiece } = transfer;
  await safeFetch(url, { ...request, headers: rangeOf(begun) }, async (response) => {
    const start = startOf(response, transfer);
    const total = begun !== undefined && start > 0 ? begun.total : totalOf(transfer, response);
    // A new file, not an emptied one: who lost the lock may still write to the old one.
    if (start === 0) await rm(part, { force: true });
    await onAnswer({ response, start, total });
    const handle = await open(part, start === 0 ? "wx" : "r+");
    try {
      let end = start;
      for await (const piece of response.body) {
        onPiece(piece, end + piece.length);
        await writeAt(handle, piece, end);
        end += piece.length;
      }
      if (total !== undefined && end !== total) {
        throw new TransferError(
          `${redactUrl(url)} ended after ${end} of ${total} bytes. Try again.`,
          {
            transient: true,
          },
        );
      }
      await handle.sync();
      await requireSame(handle, part);
    } finally {
      await handle.close();
    }
  });
}

function rangeOf(begun: Begun | undefined): Record<string, string> {
  if (begun === undefined) return {};
  const range = `bytes=${begun.bytes}-`;
  return begun.etag === undefined ? { range } : { range, "if-range": begun.etag };
}

function startOf(response: SafeResponse, { url, begun, refusal }: Transfer): number {
  const { status, header } = response;
  if (status === 200) return 0;
  if (begun === undefined || (status !== 206 && status !== 416)) throw refusal(response);
  const { bytes, total, etag } = begun;
  const range = header("content-range") ?? "";
  const sameVersion = etag === undefined || (header("etag") ?? etag) === etag;
  if (status === 206 && sameVersion && range === `bytes ${bytes}-${total - 1}/${total}`) {
    return bytes;
  }
  const [, other] = /\/(\d+)$/.exec(range) ?? [];
  throw new OtherRangeError(url, other === undefined ? undefined : Number(other));
}

function totalOf({ total }: Transfer, { header }: SafeResponse): number | undefined {
  const length = header("content-length");
  return total ?? (length === undefined ? undefined : Number(length));
}

/** Somebody may have deleted the part, and another may have begun one: that is not the file that was written. */
async function requireSame(handle: FileHandle, part: string): Promise<void> {
  const written = await handle.stat({ bigint: true });
  const named = await stat(part, { bigint: true }).catch(() => undefined);
  if (named?.ino === written.ino && named.dev === written.dev) return;
  throw new TransferError("the unfinished file was deleted while it was written. Try again.", {
    transient: true,
  });
}
