/**
 * Element types of weight files, under their safetensors names, and the sizes
 * of their elements in bytes. Source: safetensors format, `Dtype` in its README.
 */
export const dtypeBytes = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
} as const;

export type Dtype = keyof typeof dtypeBytes;

/** The dtype that a graph computes in. Weights of another dtype are cast as they are used. */
export type ComputeDtype = "f32" | "bf16" | "f16";

/** Widens bfloat16 bit patterns: exact, a bf16 is the upper half of an f32. */
export function bf16ToF32(bits: Uint16Array): Float32Array<ArrayBuffer> {
  const words = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) words[i] = bits[i]! << 16;
  return new Float32Array(words.buffer);
}

/** Widens IEEE half precision bit patterns: exact. */
export function f16ToF32(bits: Uint16Array): Float32Array<ArrayBuffer> {
  return Float32Array.from(new Float16Array(bits.buffer, bits.byteOffset, bits.length));
}

/** Rounds f32 values in place to the nearest that the dtype can hold, ties to even, as PyTorch casts. */
export function roundToDtype(values: Float32Array, dtype: Dtype): void {
  if (dtype === "F32") return;
  if (dtype === "F16") {
    values.set(new Float16Array(values));
    return;
  }
  if (dtype !== "BF16") throw new RangeError(`values can't be rounded to ${dtype}`);
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    // Rounded up, a NaN of all ones would come out as -0.
    const isNumber = (word & 0x7fffffff) <= 0x7f800000;
    words[i] = isNumber ? (word + 0x7fff + ((word >>> 16) & 1)) & 0xffff0000 : 0x7fc00000;
  }
}

/** The bytes of f32 values in a dtype that holds them exactly: see `roundToDtype`. */
export function narrowTo(values: Float32Array<ArrayBuffer>, dtype: Dtype): Uint8Array<ArrayBuffer> {
  if (dtype === "F16") return new Uint8Array(new Float16Array(values).buffer);
  if (dtype === "F32") return new Uint8Array(Float32Array.from(values).buffer);
  if (dtype !== "BF16") throw new RangeError(`values can't be written as ${dtype}`);
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const narrow = new Uint16Array(words.length);
  // A loop: `from` with a function takes ten times as long.
  for (let i = 0; i < words.length; i++) narrow[i] = words[i]! >>> 16;
  return new Uint8Array(narrow.buffer);
}
