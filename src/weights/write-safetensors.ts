import { randomUUID } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { InputError, messageOf } from "../errors.ts";
import type { Dtype } from "../tensor/dtype.ts";
import { dtypeBytes } from "../tensor/dtype.ts";
import { sizeOf } from "../tensor/tensor.ts";

/** What can be written: f32 values or int64 ids. */
export interface WritableTensor {
  readonly data: Float32Array<ArrayBuffer> | BigInt64Array<ArrayBuffer>;
  readonly shape: readonly number[];
}

/**
 * Writes a safetensors file, whole or not at all: to a file beside it first,
 * which then takes its name.
 *
 * @throws InputError if the place can't be written
 */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, WritableTensor>,
  metadata: Readonly<Record<string, string>>,
): Promise<void> {
  const temporary = `${path}.${randomUUID()}.tmp`;
  try {
    const handle = await open(temporary, "wx");
    try {
      // Not write(): on a full disk that writes a part, says how much, and does not fail.
      await handle.writeFile(encodeHeader(layoutOf(tensors), metadata));
      for (const { data } of tensors.values()) {
        await handle.writeFile(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw new InputError(
      `${path} can't be written: ${messageOf(error)}. Is ${dirname(path)} a folder that you may write to?`,
      { cause: error },
    );
  }
}

function layoutOf(tensors: ReadonlyMap<string, WritableTensor>): Map<string, TensorLayout> {
  return new Map(
    [...tensors].map(([name, { data, shape }]) => [
      name,
      { dtype: data instanceof Float32Array ? "F32" : "I64", shape },
    ]),
  );
}

/** What a header says of a tensor, but for its place. */
export interface TensorLayout {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

/** The bytes before a safetensors file's data: the tensors follow each other in their order. */
export function encodeHeader(
  tensors: ReadonlyMap<string, TensorLayout>,
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const entries: [string, unknown][] = [["__metadata__", metadata]];
  let offset = 0;
  for (const [name, { dtype, shape }] of tensors) {
    const end = offset + sizeOf(shape) * dtypeBytes[dtype];
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
