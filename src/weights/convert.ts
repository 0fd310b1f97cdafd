import type { Dtype } from "../tensor/dtype.ts";
import { bf16ToF32, f16ToF32 } from "../tensor/dtype.ts";
import { valuesOfE4m3 } from "./float8.ts";

/** Dtypes that a device without bf16 and fp8 can read. */
export type HeldDtype = "F16" | "F32";

/** The largest number that f16 holds. */
export const largestF16 = 65_504;

interface Converted {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Values that f16 doesn't hold and that became their nearest neighbours. */
  readonly rounded: number;
  /** The first value that can't be converted: NaN, infinite, or beyond f16's largest; null: there is none. */
  readonly fault: number | null;
}

export type Convert = (bytes: Uint8Array<ArrayBuffer>) => Converted;

/**
 * What makes stored numbers into f16 or f32: to the nearest, ties to even, as PyTorch casts.
 *
 * @throws RangeError for a dtype that is no floating point number of at most 32 bits
 */
export function converter(from: Dtype, to: HeldDtype): Convert {
  if (from === "F32") return to === "F16" ? narrowSingles : unchanged;
  const key = `${from} ${to}`;
  const convert = known.get(key) ?? byTable(valuesOf(from), to);
  known.set(key, convert);
  return convert;
}

const known = new Map<string, Convert>();

/** The value of each code. */
function valuesOf(dtype: Dtype): Float32Array {
  const halves = Uint16Array.from({ length: 2 ** 16 }, (_, code) => code);
  if (dtype === "BF16") return bf16ToF32(halves);
  if (dtype === "F16") return f16ToF32(halves);
  if (dtype === "F8_E4M3") return valuesOfE4m3();
  // The upper half of an f16.
  if (dtype === "F8_E5M2") return f16ToF32(halves.subarray(0, 256).map((code) => code << 8));
  throw new RangeError(`${dtype} can't be converted`);
}

const fine = 0;
const isRounded = 1;
const isFault = 2;

/** One look into a table for each value: 16 bits have few codes. */
function byTable(values: Float32Array, to: HeldDtype): Convert {
  const halves = new Float16Array(values);
  const marks = Uint8Array.from(values, (value, code) => {
    if (!Number.isFinite(value)) return isFault;
    if (to === "F32" || halves[code] === value) return fine;
    return Number.isFinite(halves[code]) ? isRounded : isFault;
  });
  const look = to === "F16" ? intoHalves(halves) : intoSingles(values);
  return (bytes) => {
    const codes =
      values.length === 256
        ? new Uint16Array(bytes)
        : new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
    let rounded = 0;
    let fault: number | null = null;
    for (let i = 0; i < codes.length; i++) {
      const mark = marks[codes[i]!]!;
      if (mark === fine) continue;
      if (mark === isRounded) rounded++;
      else fault ??= values[codes[i]!]!;
    }
    return { bytes: look(codes), rounded, fault };
  };
}

// Two loops that look alike: one that saw arrays of both kinds would be half as fast.

function intoHalves(halves: Float16Array<ArrayBuffer>) {
  const results = new Uint16Array(halves.buffer);
  return (codes: Uint16Array): Uint8Array<ArrayBuffer> => {
    const found = new Uint16Array(codes.length);
    for (let i = 0; i < codes.length; i++) found[i] = results[codes[i]!]!;
    return new Uint8Array(found.buffer);
  };
}

function intoSingles(values: Float32Array) {
  const results = new Uint32Array(Float32Array.from(values).buffer);
  return (codes: Uint16Array): Uint8Array<ArrayBuffer> => {
    const found = new Uint32Array(codes.length);
    for (let i = 0; i < codes.length; i++) found[i] = results[codes[i]!]!;
    return new Uint8Array(found.buffer);
  };
}

function narrowSingles(bytes: Uint8Array<ArrayBuffer>): Converted {
  const values = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const halves = new Float16Array(values.length);
  let rounded = 0;
  let fault: number | null = null;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    halves[i] = value;
    const half = halves[i]!;
    if (half === value && Number.isFinite(value)) continue;
    if (Number.isFinite(half)) rounded++;
    else fault ??= value;
  }
  return { bytes: new Uint8Array(halves.buffer), rounded, fault };
}

function unchanged(bytes: Uint8Array<ArrayBuffer>): Converted {
  const values = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  let fault: number | null = null;
  // A loop: findIndex takes seven times as long.
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i])) fault ??= values[i]!;
  return { bytes, rounded: 0, fault };
}
