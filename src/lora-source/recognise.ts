import { largestHeader, otherFormat } from "../weights/safetensors.ts";

export const webPage = "a web page";

/** A safetensors file's length of its header, and the brace that begins it. */
export const enoughToRecognise = 9;

/** What a file is by its first bytes; undefined if they can begin a safetensors file. */
export function recogniseOther(head: Uint8Array): string | undefined {
  const length = new DataView(head.buffer, head.byteOffset).getBigUint64(0, true);
  if (length <= BigInt(largestHeader) && head[8] === "{".charCodeAt(0)) return undefined;
  return otherFormat(head) ?? "something else";
}
