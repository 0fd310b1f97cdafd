import { readFileSync, writeFileSync } from "node:fs";
import type { WeightSpan } from "../src/onnx/graph.ts";
import type { Dtype } from "../src/tensor/dtype.ts";

/** A tensor's bytes as they lie in a file. */
export interface RawTensor {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

export function rawTensor({ dtype, shape, file, offset, byteLength }: WeightSpan): RawTensor {
  return { dtype, shape, bytes: readFileSync(file).subarray(offset, offset + byteLength) };
}

/** Writes any tensors as a safetensors file, so that tests can make other tools' files. */
export function writeTensorFile(path: string, tensors: ReadonlyMap<string, RawTensor>): void {
  let end = 0;
  const header: Record<string, unknown> = {};
  for (const [name, { dtype, shape, bytes }] of tensors) {
    header[name] = { dtype, shape, data_offsets: [end, end + bytes.length] };
    end += bytes.length;
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  writeFileSync(
    path,
    Buffer.concat([length, json, ...[...tensors.values()].map(({ bytes }) => bytes)]),
  );
}
