/**
 * Hadamard's matrix H [size, size] of 1 and -1, row by row: H H = size · 1. It spreads a large
 * number among all of its block, so that rounding the block to few bits loses less of the others.
 *
 * @param size a power of two
 */
export function hadamard(size: number): Float32Array<ArrayBuffer> {
  const values = new Float32Array(size * size);
  for (let row = 0; row < size; row++)
    for (let column = 0; column < size; column++)
      values[row * size + column] = isOdd(row & column) ? -1 : 1;
  return values;
}

/** Whether an odd number of bits is set. */
function isOdd(bits: number): boolean {
  let odd = false;
  for (let rest = bits; rest !== 0; rest &= rest - 1) odd = !odd;
  return odd;
}
