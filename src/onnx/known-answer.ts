import type { Tensor } from "../tensor/tensor.ts";
import { sizeOf } from "../tensor/tensor.ts";
import type { Value } from "./graph.ts";
import type { GraphContext } from "./layers.ts";
import type { Attribute } from "./model-proto.ts";

// What every operator of the graphs that run on devices must say. Each answer is a closed form,
// a whole number where it can be (bf16 holds those up to 256), and never what another device said.

export interface KnownAnswer {
  readonly operator: string;
  readonly inputs: readonly Tensor[];
  /** From the inputs in the compute dtype. */
  readonly build: (context: GraphContext, ...inputs: Value[]) => Value;
  readonly expected: Tensor;
}

/** Values by their place in the last two dimensions, and in all others together. */
export function tensor(
  shape: readonly number[],
  value: (column: number, row: number, item: number) => number,
): Tensor {
  const columns = shape.at(-1) ?? 1;
  const rows = shape.at(-2) ?? 1;
  const data = Float32Array.from({ length: sizeOf(shape) }, (_, i) =>
    value(i % columns, Math.floor(i / columns) % rows, Math.floor(i / (columns * rows))),
  );
  return { data, shape };
}

/** One operator with these attributes. */
export function same(operator: string, attributes: Readonly<Record<string, Attribute>> = {}) {
  return ({ graph }: GraphContext, ...inputs: Value[]) => graph.op(operator, inputs, attributes);
}

/** 0 to 15, another order in each row. */
export const small = (column: number, row: number): number => (column * 3 + row * 5) % 16;
