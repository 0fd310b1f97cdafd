import type { Dtype } from "../tensor/dtype.ts";
import { notWritable, writeWhole } from "./write-whole.ts";

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
  await writeWhole(path, encodeHeader(tensors, metadata), ...pieces).catch((error: unknown) => {
    throw notWritable(path, error);
  });
}

function encodeHeader(
  tensors: ReadonlyMap<string, WritableTensor>,
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const entries: [string, unknown][] = [["__metadata__", metadata]];
  let offset = 0;
  for (const [name, tensor] of tensors) {
    const { data, shape } = tensor;
    const dtype = "dtype" in tensor ? tensor.dtype : data instanceof Float32Array ? "F32" : "I64";
    entries.push([name, { dtype, shape, data_offsets: [offset, offset + data.byteLength] }]);
    offset += data.byteLength;
  }
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  // Padded with spaces, so that the data starts at a multiple of 8.
  const length = Math.ceil(json.length / 8) * 8;
  const header = new Uint8Array(8 + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(json, 8);
  return header;
}
