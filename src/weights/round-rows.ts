import type { RoundingMethod, TrainDtype } from "../job/rounding.ts";
import { codeOfE4m3, largestE4m3, roundHalfToEven, valuesOfE4m3 } from "./float8.ts";

/** torchao's scales are no smaller: the epsilon of f32. */
const smallestScale = 2 ** -23;
/** Values that share a scale in torchao's uint types. */
const groupSize = 64;

/** Whether the trainer rounds a matrix of so many columns; it leaves one that its groups don't fill. */
export function roundsColumns(method: RoundingMethod, columns: number): boolean {
  return method === "quanto" || method === "torchao" || columns % groupSize === 0;
}

/**
 * Rounds values of a dtype row by row, in the arithmetic of that dtype, and widens them again to it.
 * Sources: optimum-quanto 0.2.4 `absmax_optimizer.py`, `library/quantize.py`,
 * `library/qbytes_mm.py`; torchao 0.10.0 `quant_primitives.py`, whose uint types ai-toolkit's
 * `uintx_quant.py` repeats since b677cdb0.
 *
 * @param fault makes the error for a row that can't be rounded
 */
export function roundRows(
  values: Float32Array,
  columns: number,
  { method, dtype }: { readonly method: RoundingMethod; readonly dtype: TrainDtype },
  fault: (what: string) => Error,
): void {
  const round = roundTo[dtype];
  for (let start = 0; start < values.length; start += columns) {
    const end = start + columns;
    const largest = largestIn(values, start, end);
    if (!Number.isFinite(largest)) throw fault("holds NaN or infinity");
    const scale = round(largest / largestE4m3);
    if (method === "quanto") {
      if (scale === 0) throw fault("has a row of zeros, of which the trainer makes NaN");
      divideRow(values, start, end, scale, round);
    } else if (method === "torchao") {
      multiplyRow(values, start, end, Math.max(scale, smallestScale), round);
    } else {
      for (let group = start; group < end; group += groupSize)
        roundGroup(values, group, 2 ** bitsOf[method] - 1, round);
    }
  }
}

const bitsOf = { uint2: 2, uint3: 3, uint4: 4, uint5: 5, uint6: 6, uint7: 7 } as const;

/** The largest absolute value; NaN wins over every number. */
function largestIn(values: Float32Array, start: number, end: number): number {
  let largest = 0;
  for (let i = start; i < end; i++) {
    const size = Math.abs(values[i]!);
    if (!(size <= largest)) largest = size;
    if (Number.isNaN(size)) return size;
  }
  return largest;
}

type Round = (value: number) => number;

const single = new Float32Array(1);
const word = new Uint32Array(single.buffer);

/** What PyTorch's operators round to: they compute in f32. */
const roundTo: Readonly<Record<TrainDtype, Round>> = {
  f32: Math.fround,
  f16: (value) => Math.f16round(Math.fround(value)),
  bf16: (value) => {
    single[0] = value;
    const bits = word[0]!;
    // NaN and infinity don't come here.
    word[0] = (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff_0000;
    return single[0]!;
  },
};

/** w / s. */
function divideRow(
  values: Float32Array,
  start: number,
  end: number,
  scale: number,
  round: Round,
): void {
  const products = productsWith(scale, round);
  for (let i = start; i < end; i++) values[i] = products[codeOfE4m3(round(values[i]! / scale))]!;
}

/** w · (1/s). */
function multiplyRow(
  values: Float32Array,
  start: number,
  end: number,
  scale: number,
  round: Round,
): void {
  const products = productsWith(scale, round);
  const inverse = round(1 / scale);
  for (let i = start; i < end; i++) values[i] = products[codeOfE4m3(round(values[i]! * inverse))]!;
}

const valueOfCode = valuesOfE4m3();
const products = new Float32Array(valueOfCode.length);

/** q · s for every code of q. */
function productsWith(scale: number, round: Round): Float32Array {
  for (let code = 0; code < products.length; code++)
    products[code] = round(valueOfCode[code]! * scale);
  return products;
}

/** 64 values to whole numbers up to `most`, with a scale and a zero of their own. */
function roundGroup(values: Float32Array, start: number, most: number, round: Round): void {
  let [lowest, highest] = [0, 0];
  for (let i = start; i < start + groupSize; i++) {
    lowest = Math.min(lowest, values[i]!);
    highest = Math.max(highest, values[i]!);
  }
  const scale = Math.max(round(round(highest - lowest) / most), smallestScale);
  const zero = clamp(-roundHalfToEven(round(lowest / scale)), most);
  const inverse = round(1 / scale);
  for (let i = start; i < start + groupSize; i++) {
    const code = clamp(round(roundHalfToEven(round(values[i]! * inverse)) + zero), most);
    values[i] = round((code - zero) * scale);
  }
}

/** NaN, of a group of zeros in f16, becomes 0 when PyTorch makes a whole number of it. */
function clamp(value: number, most: number): number {
  return value > 0 ? Math.min(value, most) : 0;
}
