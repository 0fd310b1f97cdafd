import type { Tensor } from "../tensor/tensor.ts";
import { sizeOf } from "../tensor/tensor.ts";

const stateSize = 624;
const shiftSize = 397;
const { fround } = Math;

/**
 * MT19937 as torch's CPU generator seeds and draws it: the low 32 bits of the
 * seed are the first word of the state. Source: ATen/core/MT19937RNGEngine.h.
 */
class MersenneTwister {
  readonly #state = new Uint32Array(stateSize);
  #next = stateSize;

  constructor(seed: bigint) {
    const state = this.#state;
    state[0] = Number(BigInt.asUintN(32, seed));
    for (let j = 1; j < stateSize; j++) {
      const before = state[j - 1]!;
      state[j] = Math.imul(1812433253, before ^ (before >>> 30)) + j;
    }
  }

  next32(): number {
    if (this.#next === stateSize) this.#twist();
    let y = this.#state[this.#next++]!;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    y ^= y >>> 18;
    return y >>> 0;
  }

  /** Uniform f32 in [0, 1) from 24 bits of one draw. */
  uniform24(): number {
    return (this.next32() & 0xffffff) / 2 ** 24;
  }

  /** Uniform f64 in [0, 1) from 53 bits of two draws, the first one high. */
  uniform53(): number {
    const high = this.next32() & 0x1fffff;
    const low = this.next32();
    return (high * 2 ** 32 + low) / 2 ** 53;
  }

  #twist(): void {
    const state = this.#state;
    for (let j = 0; j < stateSize; j++) {
      const mixed = (state[j]! & 0x80000000) | (state[(j + 1) % stateSize]! & 0x7fffffff);
      const twisted = (mixed >>> 1) ^ ((mixed & 1) === 0 ? 0 : 0x9908b0df);
      state[j] = state[(j + shiftSize) % stateSize]! ^ twisted;
    }
    this.#next = 0;
  }
}

/**
 * `torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))` in
 * f32: within 1e-6 of it, as torch's vector code rounds its logarithm and sine
 * differently in the last place. Source: ATen/native/cpu/DistributionTemplates.h.
 *
 * @param seed any that torch takes; seeds equal modulo 2^32 give equal noise
 */
export function randn(seed: bigint, shape: readonly number[]): Tensor {
  const generator = new MersenneTwister(seed);
  const data = new Float32Array(sizeOf(shape));
  if (data.length < 16) fillPairs(generator, data);
  else fillBlocks(generator, data);
  return { data, shape };
}

/** Blocks of 16: eight radii, eight angles. A rest takes fresh numbers for the last 16 values. */
function fillBlocks(generator: MersenneTwister, data: Float32Array): void {
  for (let i = 0; i < data.length; i++) data[i] = generator.uniform24();
  let start = 0;
  for (; start + 16 <= data.length; start += 16) transformBlock(data.subarray(start, start + 16));
  if (start === data.length) return;
  const tail = data.subarray(data.length - 16);
  for (let i = 0; i < 16; i++) tail[i] = generator.uniform24();
  transformBlock(tail);
}

function transformBlock(block: Float32Array): void {
  for (let j = 0; j < 8; j++) {
    const radius = fround(Math.sqrt(-2 * fround(Math.log(fround(1 - block[j]!)))));
    // Rounded as torch rounds it: at a radius of 5, an exact angle would be 1.7e-6 off.
    const angle = fround(fround(2 * Math.PI) * block[j + 8]!);
    block[j] = radius * fround(Math.cos(angle));
    block[j + 8] = radius * fround(Math.sin(angle));
  }
}

/** Fewer than 16 values: one by one in f64, each pair's second kept for the next value. */
function fillPairs(generator: MersenneTwister, data: Float32Array): void {
  for (let i = 0; i < data.length; i += 2) {
    const angle = 2 * Math.PI * generator.uniform53();
    const radius = Math.sqrt(-2 * Math.log1p(-generator.uniform53()));
    data[i] = radius * Math.cos(angle);
    if (i + 1 < data.length) data[i + 1] = radius * Math.sin(angle);
  }
}
