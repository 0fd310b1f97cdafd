import type { Tensor } from "../tensor/tensor.ts";

/** Interleaved RGB bytes. */
export interface Pixels {
  readonly data: Uint8Array<ArrayBuffer>;
  readonly width: number;
  readonly height: number;
}

/**
 * Rounds a picture [3, H, W] in [0, 1] to bytes as diffusers does:
 * `(images * 255).round().astype("uint8")`, halves to even.
 */
export function toPixels({ data, shape }: Tensor): Pixels {
  const height = shape[1]!;
  const width = shape[2]!;
  const plane = width * height;
  const bytes = new Uint8Array(3 * plane);
  for (let channel = 0; channel < 3; channel++) {
    for (let i = 0; i < plane; i++) {
      bytes[3 * i + channel] = roundHalfToEven(Math.fround(data[channel * plane + i]! * 255));
    }
  }
  return { data: bytes, width, height };
}

function roundHalfToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}
