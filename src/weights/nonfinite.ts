import { open } from "node:fs/promises";
import { readExactly } from "../files/read.ts";
import type { WeightSpan } from "../onnx/graph.ts";
import { dtypeBytes } from "../tensor/dtype.ts";

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
  for (const [name, span] of partsOf(tensors)) {
    const handle = await open(span.file, "r");
    try {
      for (let at = 0; at < span.byteLength; at += chunkBytes) {
        const length = Math.min(chunkBytes, span.byteLength - at);
        const piece = chunk.subarray(0, length);
        await readExactly(handle, piece, span.offset + at, span.file);
        const found = scan(piece, span.dtype);
        if (found === -1) continue;
        const elementBytes = dtypeBytes[span.dtype];
        return { name, file: span.file, index: at / elementBytes + found };
      }
    } finally {
      await handle.close();
    }
  }
  return undefined;
}

/** Every tensor, and the scale of those that have one. Blocks were checked when they were written. */
function* partsOf(tensors: ReadonlyMap<string, WeightSpan>): Iterable<[string, WeightSpan]> {
  for (const [name, span] of tensors) {
    if (span.blocks === undefined) yield [name, span];
    if (span.scale !== undefined) yield [`${name}'s scale`, span.scale];
  }
}

/** Index of the first NaN or infinity, or -1: but for e4m3, which has no infinity, exponent bits that are all ones. */
function scan(bytes: Uint8Array<ArrayBuffer>, dtype: WeightSpan["dtype"]): number {
  if (dtype === "F32") {
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    return indexOfAllOnes(words, 0x7f800000);
  }
  if (dtype === "F8_E4M3") return bytes.findIndex((value) => (value & 0x7f) === 0x7f);
  if (dtype === "F8_E5M2") return bytes.findIndex((value) => (value & 0x7c) === 0x7c);
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
