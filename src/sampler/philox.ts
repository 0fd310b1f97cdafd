import type { Tensor } from "../tensor/tensor.ts";
import { sizeOf } from "../tensor/tensor.ts";

const { fround } = Math;

/** Multipliers and key increments of Philox 4x32. */
const multiplier = [0xd2511f53, 0xcd9e8d57] as const;
const increment = [0x9e3779b9, 0xbb67ae85] as const;
const rounds = 10;

/** curand's CURAND_2POW32_INV and CURAND_2POW32_INV_2PI, in f32. */
const inverse = fround(2.3283064e-10);
const inverseTwoPi = fround(2.3283064e-10 * 6.2831855);

type Words = readonly [number, number, number, number];

/** Four random words of 32 bits for a counter and a key. Source: Salmon et al., SC 2011. */
function philox([c0, c1, c2, c3]: Words, keyLow: number, keyHigh: number): Words {
  let key0 = keyLow;
  let key1 = keyHigh;
  for (let round = 0; round < rounds; round++) {
    const first = high32(multiplier[0], c0);
    const second = high32(multiplier[1], c2);
    const low0 = Math.imul(multiplier[0], c0) >>> 0;
    const low1 = Math.imul(multiplier[1], c2) >>> 0;
    c0 = (second ^ c1 ^ key0) >>> 0;
    c1 = low1;
    c2 = (first ^ c3 ^ key1) >>> 0;
    c3 = low0;
    key0 = (key0 + increment[0]) >>> 0;
    key1 = (key1 + increment[1]) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** The upper half of a product of two 32-bit words; partial products stay below 2^53. */
function high32(a: number, b: number): number {
  const low = (a & 0xffff) * b;
  const high = (a >>> 16) * b;
  return Math.floor((high + Math.floor(low / 65536)) / 65536);
}

/** Box-Muller as curand has it, in f32: the sine is a pair's first value. */
function boxMuller(x: number, y: number): readonly [number, number] {
  const u = fround(fround(fround(x) * inverse) + fround(inverse / 2));
  const v = fround(fround(fround(y) * inverseTwoPi) + fround(inverseTwoPi / 2));
  const radius = fround(Math.sqrt(fround(-2 * fround(Math.log(u)))));
  return [radius * fround(Math.sin(v)), radius * fround(Math.cos(v))];
}

/**
 * `torch.randn(shape, device="cuda")` after `manual_seed(seed)`, within 1e-6 for most values.
 *
 * Thread t of the kernel draws four values a turn and writes them to t, t + T, t + 2T, t + 3T, so a
 * tensor of more values than the graphics card runs threads (T) depends on the card. T is the
 * number of its processors times the threads of each, in blocks of 256. The software copies in
 * A1111 ("NV") and sd.cpp ("cuda") know the first value of a thread alone: T without bound.
 * Source: ATen/native/cuda/DistributionTemplates.h, curand_normal.h.
 *
 * @param threads T; without it as many as there are values
 */
export function philoxRandn(seed: bigint, shape: readonly number[], threads?: number): Tensor {
  const data = new Float32Array(sizeOf(shape));
  const low = Number(BigInt.asUintN(32, seed));
  const high = Number(BigInt.asUintN(64, seed) >> 32n);
  const running = threads ?? data.length;
  for (let start = 0, turn = 0; start < data.length; start += 4 * running, turn++) {
    for (let thread = 0; thread < running && start + thread < data.length; thread++) {
      const [a, b, c, d] = philox([turn, 0, thread, 0], low, high);
      const first = boxMuller(a, b);
      data[start + thread] = first[0];
      if (start + thread + running >= data.length) continue;
      const values = [first[1], ...boxMuller(c, d)];
      for (const [i, value] of values.entries()) {
        const place = start + thread + (i + 1) * running;
        if (place < data.length) data[place] = value;
      }
    }
  }
  return { data, shape };
}
