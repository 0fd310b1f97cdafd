/** The largest that float8_e4m3fn holds; it has no infinity. */
export const largestE4m3 = 448;
const notANumber = 0x7f;

/** The values of all 256 codes: a sign, four bits of exponent, three of mantissa. */
export function valuesOfE4m3(): Float32Array {
  return Float32Array.from({ length: 256 }, (_, code) => {
    const sign = code >= 0x80 ? -1 : 1;
    const [exponent, mantissa] = [(code >>> 3) & 0xf, code & 7];
    if ((code & 0x7f) === notANumber) return Number.NaN;
    if (exponent === 0) return sign * mantissa * 2 ** -9;
    return sign * (1 + mantissa / 8) * 2 ** (exponent - 7);
  });
}

const single = new Float32Array(1);
const word = new Uint32Array(single.buffer);
/** Bits of f32 numbers. */
const infinity = 0x7f80_0000;
const largest = 0x43e0_0000;
const smallestNormal = 0x3c80_0000;

/**
 * The code of the value nearest to an f32, ties to even; the largest for what is beyond it, which
 * PyTorch's rounding is given clamped.
 */
export function codeOfE4m3(value: number): number {
  single[0] = value;
  const sign = (word[0]! >>> 24) & 0x80;
  const size = word[0]! & 0x7fff_ffff;
  if (size > infinity) return sign | notANumber;
  if (size >= largest) return sign | (notANumber - 1);
  // Its values are 2^-9 apart there.
  if (size < smallestNormal) return sign | roundHalfToEven(Math.abs(value) * 512);
  // Twenty bits of the mantissa go, and the exponent counts from 7 instead of 127.
  return sign | (((size + 0x7_ffff + ((size >>> 20) & 1)) >>> 20) - (120 << 3));
}

/** To a whole number, ties to even, as PyTorch rounds. */
export function roundHalfToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}
