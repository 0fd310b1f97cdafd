import { notWritable, writeWhole } from "../files/whole.ts";
import type { Dtype } from "../tensor/dtype.ts";
import { dtypeBytes } from "../tensor/dtype.ts";
import { sizeOf } from "../tensor/tensor.ts";

/** What can be written: f32 values, int64 ids, or bytes of any dtype as another file has them. */
export type WritableTensor =
  | {
      readonly data: Float32Array<ArrayBuffer> | BigInt64Array<ArrayBuffer>;
      readonly shape: readonly number[];
    }
  | {
      readonly data: Uint8Array<ArrayBuffer>;
      readonly dtype: Dtype;
      readonly shape: readonly number[];
    };

/**
 * Writes a safetensors file, whole or not at all.
 *
 * @throws InputError if the place can't be written
 */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, WritableTensor>,
  metadata: Readonly<Record<string, string>>,
): Promise<void> {
  const pieces = [...tensors.values()].map(
    ({ data }) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  );
  await writeWhole(path, [encodeHeader(layoutOf(tensors), metadata), ...pieces]).catch(
    (error: unknown) => {
      throw notWritable(path, error);
    },
  );
}

function layoutOf(tensors: ReadonlyMap<string, WritableTensor>): Map<string, TensorLayout> {
  return new Map(
    [...tensors].map(([name, tensor]) => {
      const own = tensor.data instanceof Float32Array ? "F32" : "I64";
      return [name, { dtype: "dtype" in tensor ? tensor.dtype : own, shape: tensor.shape }];
    }),
  );
}

/** What a header says of a tensor, but for its place. */
export interface TensorLayout {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

export function byteLengthOf({ dtype, shape }: TensorLayout): number {
  return sizeOf(shape) * dtypeBytes[dtype];
}

/** The bytes before a safetensors file's data: the tensors follow each other in their order. */
export function encodeHeader(
  tensors: ReadonlyMap<string, TensorLayout>,
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const entries: [string, unknown][] = [["__metadata__", metadata]];
  let offset = 0;
  for (const [name, { dtype, shape }] of tensors) {
    const end = offset + byteLengthOf({ dtype, shape });
    entries.push([name, { dtype, shape, data_offsets: [offset, end] }]);
    offset = end;
  }
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  // Padded with spaces, so that the data starts at a multiple of 8.
  const length = Math.ceil(json.length / 8) * 8;
  const header = new Uint8Array(8 + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(json, 8);
  return header;
}
