import { InputError } from "../errors.ts";
import { largestHeader, otherFormat } from "../weights/safetensors.ts";

/**
 * A LoRA's header has some hundred kilobytes, with every caption of its training some millions. Reading one of the
 * format's hundred megabytes would take a server seconds in which it answers nobody.
 */
const largestLoraHeader = 2 ** 24;

export const webPage = "a web page";

/** A safetensors file's length of its header, and the brace that begins it. */
export const enoughToRecognise = 9;

/**
 * What a file is by its first bytes; undefined if they can begin a LoRA.
 *
 * @param shown stands for the file in messages
 * @throws InputError if its header is longer than a LoRA's may be
 */
function recogniseOther(head: Uint8Array, shown: string): string | undefined {
  const length = new DataView(head.buffer, head.byteOffset).getBigUint64(0, true);
  if (length > BigInt(largestHeader) || head[8] !== "{".charCodeAt(0))
    return otherFormat(head) ?? "something else";
  if (length <= BigInt(largestLoraHeader)) return undefined;
  throw new InputError(
    `${shown} can't be used as a LoRA: its header has ${length} bytes, and ${largestLoraHeader} is the most. Save it with less metadata.`,
  );
}

/**
 * To be called with each piece of a file as it comes: throws as soon as it can be no LoRA.
 *
 * @param shown stands for the file in messages
 */
export function firstBytesCheck(
  shown: string,
  refusal: (what: string) => Error,
): (piece: Uint8Array) => void {
  let head = Buffer.alloc(0);
  return (piece) => {
    if (head.length >= enoughToRecognise) return;
    head = Buffer.concat([head, piece]).subarray(0, enoughToRecognise);
    const other = head.length < enoughToRecognise ? undefined : recogniseOther(head, shown);
    if (other !== undefined) throw refusal(other);
  };
}
