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

/**
 * For the bits of every bf16 the code of the nearest value, ties to even; the largest for what is
 * beyond, which PyTorch's rounding is given clamped.
 */
export function codesOfE4m3(): Uint8Array {
  const values = valuesOfE4m3().subarray(0, notANumber);
  const words = Uint32Array.from({ length: 2 ** 15 }, (_, bits) => bits << 16);
  const sizes = new Float32Array(words.buffer);
  const codes = new Uint8Array(2 ** 16);
  let code = 0;
  for (const [bits, size] of sizes.entries()) {
    // Sizes rise until they are no numbers.
    while (code + 1 < values.length && isNearer(size, values[code]!, values[code + 1]!, code))
      code++;
    codes[bits] = Number.isNaN(size) ? notANumber : code;
    codes[bits + 2 ** 15] = codes[bits]! + 0x80;
  }
  return codes;
}

/** Whether a size is to be rounded up; a code's last bit is its value's. */
function isNearer(size: number, below: number, above: number, code: number): boolean {
  const [toBelow, toAbove] = [size - below, above - size];
  return toAbove < toBelow || (toAbove === toBelow && code % 2 === 1);
}
