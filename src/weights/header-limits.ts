/** What a safetensors header may hold. Some hundred bytes describe a tensor, and take a hundred times as long to read as plain text. */
export interface HeaderLimits {
  readonly tensors: number;
  /** Bytes of JSON besides `__metadata__`. */
  readonly bytes: number;
}

/**
 * Of a LoRA. The largest of Z-Image has some 2,000 tensors. `__metadata__` is not counted: with the tags of its
 * training it may have megabytes.
 */
export const loraLimits: HeaderLimits = { tensors: 20_000, bytes: 2 ** 21 };

/** A tensor's shape lies in it, in its entry, in the header. */
const deepest = 3;

/**
 * What of a header is beyond the limits; undefined if nothing is. It looks at
 * the bytes alone, before anything is made of them: of hundreds of thousands
 * of entries that would take seconds.
 *
 * @param header JSON, or any bytes
 */
export function beyondLimits(header: Uint8Array, limits: HeaderLimits): string | undefined {
  let depth = 0;
  let tensors = 0;
  let metadata = 0;
  let metadataStart: number | undefined;
  const endMetadata = (at: number) => {
    if (metadataStart !== undefined) metadata += at - metadataStart;
    metadataStart = undefined;
  };
  for (let at = 0; at < header.length; at++) {
    const byte = header[at];
    if (byte === quote) {
      const start = at + 1;
      at = endOfString(header, start);
      if (depth !== 1 || !isKey(header, at + 1)) continue;
      if (at - start === metadataKey.length && metadataKey.equals(header.subarray(start, at)))
        metadataStart = at;
      else tensors++;
    } else if (byte === 0x7b || byte === 0x5b) {
      depth++;
      if (depth > deepest) return "something nested deeper than a tensor's shape";
    } else if (byte === 0x7d || byte === 0x5d) {
      depth--;
      if (depth === 0) endMetadata(at);
    } else if (byte === comma && depth === 1) endMetadata(at);
  }
  endMetadata(header.length);
  if (tensors > limits.tensors) return `${tensors} tensors, and ${limits.tensors} is the most`;
  const bytes = header.length - metadata;
  return bytes > limits.bytes
    ? `${bytes} bytes besides its metadata, and ${limits.bytes} is the most`
    : undefined;
}

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const colon = 0x3a;
const metadataKey = Buffer.from("__metadata__");

/** Index of the quote that closes the string which begins at `start`. */
function endOfString(bytes: Uint8Array, start: number): number {
  let at = start;
  while (at < bytes.length && bytes[at] !== quote) at += bytes[at] === backslash ? 2 : 1;
  return at;
}

/** Whether a colon follows a string that ends before `at`. */
function isKey(bytes: Uint8Array, at: number): boolean {
  let next = at;
  while ([0x20, 0x09, 0x0d, 0x0a].includes(bytes[next] ?? 0)) next++;
  return bytes[next] === colon;
}
