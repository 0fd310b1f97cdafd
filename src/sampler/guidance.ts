import type { Tensor } from "../tensor/tensor.ts";

const { fround } = Math;

/** Classifier-free guidance as Z-Image's pipeline has it: pos + w·(pos - neg), each operation in f32. */
export function guide(positive: Tensor, negative: Tensor, weight: number): Tensor {
  const data = new Float32Array(positive.data.length);
  const scale = fround(weight);
  for (let i = 0; i < data.length; i++) {
    const pos = positive.data[i]!;
    data[i] = pos + fround(scale * fround(pos - negative.data[i]!));
  }
  return { data, shape: positive.shape };
}

/** The network predicts the way to the picture; the schedule wants the way to the noise. */
export function negate({ data, shape }: Tensor): Tensor {
  return { data: data.map((value) => -value), shape };
}
