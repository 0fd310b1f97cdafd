import { largestHeader, otherFormat } from "../weights/safetensors.ts";

/**
 * A LoRA's header has some hundred kilobytes, with every caption of its training some millions. Reading one of the
 * format's hundred megabytes would take a server seconds in which it answers nobody.
 */
const largestLoraHeader = 2 ** 24;

export const webPage = "a web page";

/** A safetensors file's length of its header, and the brace that begins it. */
export const enoughToRecognise = 9;

/** What a file is by its first bytes; undefined if they can begin a LoRA. */
function recogniseOther(head: Uint8Array): string | undefined {
  const length = new DataView(head.buffer, head.byteOffset).getBigUint64(0, true);
  if (length <= BigInt(largestHeader) && head[8] === "{".charCodeAt(0)) {
    return length <= BigInt(largestLoraHeader)
      ? undefined
      : `a file whose header has ${length} bytes, and ${largestLoraHeader} is the most for a LoRA`;
  }
  return otherFormat(head) ?? "something else";
}

/** To be called with each piece of a file as it comes: throws as soon as it can be no LoRA. */
export function firstBytesCheck(refusal: (what: string) => Error): (piece: Uint8Array) => void {
  let head = Buffer.alloc(0);
  return (piece) => {
    if (head.length >= enoughToRecognise) return;
    head = Buffer.concat([head, piece]).subarray(0, enoughToRecognise);
    const other = head.length < enoughToRecognise ? undefined : recogniseOther(head);
    if (other !== undefined) throw refusal(other);
  };
}
