import { InputError } from "../errors.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { TransformerConfig } from "./config.ts";

/** A token's place on the three axes: sequence, row, column. */
export type Position = readonly [number, number, number];

/** cos and sin of the angles by which a head's adjacent feature pairs turn, each [tokens, headDim/2]. */
export interface RopeTable {
  readonly cos: Tensor;
  readonly sin: Tensor;
}

/** Caption tokens, pads included, stand at (1 + i, 0, 0). */
export function captionPositions(paddedLength: number): Position[] {
  return Array.from({ length: paddedLength }, (_, i) => [1 + i, 0, 0]);
}

/** Image tokens stand behind the caption at (1 + its length, row, column), their pads at (0, 0, 0). */
export function imagePositions(
  captionLength: number,
  rows: number,
  columns: number,
  pads: number,
): Position[] {
  const image = Array.from(
    { length: rows * columns },
    (_, i): Position => [captionLength + 1, Math.floor(i / columns), i % columns],
  );
  return [...image, ...Array.from({ length: pads }, (): Position => [0, 0, 0])];
}

/**
 * Angles as diffusers' `RopeEmbedder` has them: position · theta^(-2j/width) in
 * f64, rounded to f32 once, then cos and sin in f32.
 *
 * @throws InputError if a position lies beyond the table that the model was made with.
 */
export function ropeTable(config: TransformerConfig, positions: readonly Position[]): RopeTable {
  const pairs = config.headDim / 2;
  const cos = new Float32Array(positions.length * pairs);
  const sin = new Float32Array(positions.length * pairs);
  const frequencies = config.axesDims.map((width) =>
    Float64Array.from({ length: width / 2 }, (_, j) => 1 / config.ropeTheta ** ((2 * j) / width)),
  );
  let index = 0;
  for (const position of positions) {
    for (const [axis, steps] of frequencies.entries()) {
      const place = position[axis]!;
      const limit = config.axesLens[axis]!;
      if (place >= limit) {
        throw new InputError(
          `the picture or the prompt is too large for this model: position ${place} on axis ${axis}, ` +
            `and axes_lens in transformer/config.json ends at ${limit}. Use a smaller size or a shorter prompt.`,
        );
      }
      for (const step of steps) {
        const angle = Math.fround(place * step);
        cos[index] = Math.cos(angle);
        sin[index] = Math.sin(angle);
        index += 1;
      }
    }
  }
  const shape = [positions.length, pairs];
  return { cos: { data: cos, shape }, sin: { data: sin, shape } };
}

export function concatRopes(tables: readonly RopeTable[]): RopeTable {
  const concat = (parts: readonly Tensor[]): Tensor => {
    const data = new Float32Array(parts.reduce((sum, part) => sum + part.data.length, 0));
    let offset = 0;
    for (const part of parts) {
      data.set(part.data, offset);
      offset += part.data.length;
    }
    const pairs = parts[0]?.shape[1] ?? 0;
    return { data, shape: [parts.reduce((sum, part) => sum + part.shape[0]!, 0), pairs] };
  };
  return { cos: concat(tables.map(({ cos }) => cos)), sin: concat(tables.map(({ sin }) => sin)) };
}
