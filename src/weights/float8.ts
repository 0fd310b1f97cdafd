/** The largest that e4m3fn holds; it has no infinity. */
export const largestE4m3 = 448;
/** Below 2^-6 its values are 2^-9 apart. */
const smallestExponent = -6;
const mantissaBits = 3;

/**
 * The nearest value of float8_e4m3fn, ties to even, and its largest for what is beyond: what
 * PyTorch gives for a value that was clamped to ±448. NaN stays NaN.
 */
export function nearestE4m3(value: number): number {
  const size = Math.abs(value);
  if (!(size < largestE4m3))
    return Number.isNaN(size) ? Number.NaN : Math.sign(value) * largestE4m3;
  const exponent = Math.max(exponentOf(size), smallestExponent);
  const quantum = 2 ** (exponent - mantissaBits);
  const rounded = roundHalfToEven(size / quantum) * quantum;
  return value < 0 || Object.is(value, -0) ? -rounded : rounded;
}

/** floor(log2), exact for f32 values; a logarithm would not be. */
function exponentOf(size: number): number {
  bits.setFloat64(0, size);
  return ((bits.getUint16(0) >>> 4) & 0x7ff) - 1023;
}
const bits = new DataView(new ArrayBuffer(8));

function roundHalfToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}
