import type { Value } from "../onnx/graph.ts";
import type { GraphContext } from "../onnx/layers.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { patchSize } from "./config.ts";

/**
 * Cuts latents into patches: tokens row by row, and in a token the feature
 * (row in patch, column in patch, channel), channel fastest.
 *
 * @param latents [1, channels, height, width], height and width even
 * @returns [height/2 · width/2, 4 · channels]
 */
export function patchify(latents: Tensor): Tensor {
  const [, channels, height, width] = dims4(latents);
  const features = patchSize * patchSize * channels;
  const data = new Float32Array(latents.data.length);
  forEachElement(channels, height, width, (inLatents, inPatches) => {
    data[inPatches] = latents.data[inLatents]!;
  });
  return { data, shape: [latents.data.length / features, features] };
}

/** The inverse of {@link patchify}. */
export function unpatchify(patches: Tensor, latentShape: readonly number[]): Tensor {
  const data = new Float32Array(patches.data.length);
  const [, channels, height, width] = latentShape;
  forEachElement(channels!, height!, width!, (inLatents, inPatches) => {
    data[inLatents] = patches.data[inPatches]!;
  });
  return { data, shape: latentShape };
}

function dims4({ shape }: Tensor): [number, number, number, number] {
  const [batch, channels, height, width] = shape;
  if (shape.length !== 4 || batch !== 1 || height! % patchSize !== 0 || width! % patchSize !== 0) {
    throw new RangeError(`latents of [${shape}] can't be cut into patches of ${patchSize}`);
  }
  return [batch, channels!, height!, width!];
}

function forEachElement(
  channels: number,
  height: number,
  width: number,
  visit: (inLatents: number, inPatches: number) => void,
): void {
  const columns = width / patchSize;
  const features = patchSize * patchSize * channels;
  for (let channel = 0; channel < channels; channel++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const token = Math.floor(y / patchSize) * columns + Math.floor(x / patchSize);
        const feature = ((y % patchSize) * patchSize + (x % patchSize)) * channels + channel;
        visit((channel * height + y) * width + x, token * features + feature);
      }
    }
  }
}

/** Puts `pads` (int64 [1]) copies of a pad token [1, dim] behind x [length, dim]. Pads are attended to. */
export function appendPads(
  { graph }: GraphContext,
  x: Value,
  padToken: Value,
  pads: Value,
  dim: number,
): Value {
  const shape = graph.op("Concat", [pads, graph.ints([dim])], { axis: 0 });
  return graph.op("Concat", [x, graph.op("Expand", [padToken, shape])], { axis: 0 });
}
