/** There were fewer bytes than a file's header says. */
export class OutOfBytesError extends Error {
  override readonly name = "OutOfBytesError";
}

/** Takes little-endian numbers and texts off the front of some bytes. */
export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** How many bytes were taken. */
  get at(): number {
    return this.#at;
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), true);
  }

  /** UTF-8; what is none becomes replacement characters. */
  text(bytes: number): string {
    const start = this.#take(bytes);
    return new TextDecoder().decode(this.#bytes.subarray(start, start + bytes));
  }

  skip(bytes: number): void {
    this.#take(bytes);
  }

  /** @throws OutOfBytesError */
  #take(bytes: number): number {
    const start = this.#at;
    // Written so that NaN and infinity count as too many.
    if (!(start + bytes <= this.#bytes.length)) throw new OutOfBytesError();
    this.#at = start + bytes;
    return start;
  }
}
