import type { UploadContents } from "../queue/upload-contents.ts";
import { ApiError } from "./api-error.ts";

/** Files that are being received here and are in no record yet: two must not count on the same room. */
export class Arrivals {
  readonly #contents: UploadContents;
  #bytes = 0;

  constructor(contents: UploadContents) {
    this.#contents = contents;
  }

  /**
   * Receives a file.
   *
   * @param work gets what takes each piece's length before it is written, and throws if there is no room for it
   * @throws UploadsFullError
   */
  async receive<Result>(work: (take: (bytes: number) => void) => Promise<Result>): Promise<Result> {
    const room = await this.#contents.room();
    let taken = 0;
    try {
      return await work((bytes) => {
        taken += bytes;
        this.#bytes += bytes;
        if (this.#bytes > room) throw this.#contents.full();
      });
    } finally {
      this.#bytes -= taken;
    }
  }
}

/** The disk's own words for "full": no space, over quota, and a file larger than it takes. */
const fullCodes: readonly string[] = ["ENOSPC", "EDQUOT", "EFBIG"];

/** What a client is told when a file can't be written for want of room; any other error as it is. */
export function diskFull(error: unknown): unknown {
  if (!(error instanceof Error && "code" in error && fullCodes.includes(String(error.code))))
    return error;
  const message = "The disk that holds uploads is full. Nothing was kept; ask the operator.";
  return new ApiError(507, "DISK_FULL", message);
}
