import { open } from "node:fs/promises";
import { InputError } from "../errors.ts";
import type { WeightSpan } from "../onnx/graph.ts";

const chunkBytes = 16 * 1024 * 1024;

export interface NonFinite {
  readonly name: string;
  readonly file: string;
  readonly index: number;
}

/** The first NaN or infinity among the weights, by bit pattern. Reads every file from end to end. */
export async function findNonFinite(
  tensors: ReadonlyMap<string, WeightSpan>,
): Promise<NonFinite | undefined> {
  const chunk = new Uint8Array(chunkBytes);
  for (const [name, span] of tensors) {
    const handle = await open(span.file, "r");
    try {
      for (let at = 0; at < span.byteLength; at += chunkBytes) {
        const length = Math.min(chunkBytes, span.byteLength - at);
        const { bytesRead } = await handle.read(chunk, 0, length, span.offset + at);
        if (bytesRead < length) {
          throw new InputError(`${span.file} became shorter while it was read. Download it again.`);
        }
        const found = scan(chunk.subarray(0, length), span.dtype);
        if (found === -1) continue;
        const elementBytes = span.dtype === "F32" ? 4 : 2;
        return { name, file: span.file, index: at / elementBytes + found };
      }
    } finally {
      await handle.close();
    }
  }
  return undefined;
}

/** Index of the first element whose exponent bits are all ones, or -1. */
function scan(bytes: Uint8Array<ArrayBuffer>, dtype: WeightSpan["dtype"]): number {
  if (dtype === "F32") {
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    return indexOfAllOnes(words, 0x7f800000);
  }
  const exponent = dtype === "BF16" ? 0x7f80 : dtype === "F16" ? 0x7c00 : undefined;
  if (exponent === undefined) return -1;
  const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
  return indexOfAllOnes(halves, exponent);
}

/** A loop, seven times as fast as findIndex: 20 GB are waited for. */
function indexOfAllOnes(values: Uint32Array | Uint16Array, mask: number): number {
  for (let i = 0; i < values.length; i++) if ((values[i]! & mask) === mask) return i;
  return -1;
}
