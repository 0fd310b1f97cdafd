import { InputError } from "../errors.ts";
import type { BlockStorage, WeightSpan } from "../onnx/graph.ts";
import type { TensorLayout } from "./write-safetensors.ts";

/** How a matrix in blocks lies in a derived file. */
export interface BlockLayout {
  /** [out, in] of the matrix. */
  readonly shape: readonly number[];
  readonly bits: BlockStorage["bits"];
  readonly size: number;
  readonly hasOffsets: boolean;
  readonly parts: number;
  readonly turn: number;
}

/** The tensors that hold a matrix's codes, scales and offsets; their names begin with its own. */
export function blockTensors(name: string, layout: BlockLayout): [string, TensorLayout][] {
  const { bits, size, hasOffsets, parts } = layout;
  const [rows, columns] = layout.shape as [number, number];
  const count = Math.ceil(columns / parts / size);
  const table: TensorLayout = { dtype: "F32", shape: [parts * rows, count] };
  return [
    [`${name}.scales`, table],
    ...(hasOffsets ? [[`${name}.offsets`, table] as [string, TensorLayout]] : []),
    [name, { dtype: "U8", shape: [parts * rows, count, (size * bits) / 8] }],
  ];
}

/** The matrix, as a graph takes it, out of a derived file. */
export function blockSpan(
  tensors: ReadonlyMap<string, WeightSpan>,
  name: string,
  layout: BlockLayout,
): WeightSpan {
  const part = (suffix: string) => {
    const span = tensors.get(name + suffix);
    if (span !== undefined) return span;
    throw new InputError(
      `the cached copy of ${name} is not whole. Delete it with: retake cache clear`,
    );
  };
  const { shape, bits, size, hasOffsets, parts, turn } = layout;
  const offsets = hasOffsets ? { offsets: part(".offsets") } : {};
  const blocks = { bits, size, scales: part(".scales"), ...offsets, parts, turn };
  return { ...part(""), shape, blocks };
}

/** Packs stored codes: two of 4 bits share a byte, the first in its lower half. */
export function packCodes(codes: Uint8Array, bits: BlockStorage["bits"]): Uint8Array {
  if (bits === 8) return codes;
  const packed = new Uint8Array(codes.length / 2);
  for (let i = 0; i < packed.length; i++) packed[i] = codes[2 * i]! | (codes[2 * i + 1]! << 4);
  return packed;
}
