import type { BlockStorage, Value, WeightSpan } from "./graph.ts";
import type { GraphContext } from "./layers.ts";
import { cast, weight } from "./layers.ts";

/**
 * y = x Wᵀ + b: x [..., in], weight `name`.weight [out, in] in any storage, bias `name`.bias
 * [out] if asked for.
 */
export function linear(
  context: GraphContext,
  x: Value,
  name: string,
  { bias }: { bias: boolean },
): Value {
  const { graph } = context;
  const span = graph.span(`${name}.weight`);
  const product =
    span.blocks === undefined
      ? plainProduct(context, x, `${name}.weight`)
      : blockProduct(context, x, `${name}.weight`, span, span.blocks);
  const scaled =
    span.scale === undefined
      ? product
      : graph.op("Mul", [product, factor(context, `${name}.weight.scale`, span.scale)]);
  return bias ? graph.op("Add", [scaled, weight(context, `${name}.bias`)]) : scaled;
}

function plainProduct(context: GraphContext, x: Value, name: string): Value {
  const { graph } = context;
  // On a CPU the runtime fuses this Transpose into the product: nothing is moved.
  const transposed = graph.op("Transpose", [matrixFor(context, x, name)], { perm: [1, 0] });
  return graph.op("MatMul", [x, transposed]);
}

/**
 * A matrix in the compute dtype, widened only once `x`, which it will multiply, is there.
 * A Cast of a constant waits for nothing, so the runtime does it early: for the real
 * model 13 GB of f32 copies lay waiting at once. The Reshape moves nothing; its shape is
 * the matrix's own, written as a sum with 0 that is taken from x.
 */
function matrixFor(context: GraphContext, x: Value, name: string): Value {
  const { graph, compute } = context;
  const { value, type, shape } = graph.weight(name);
  if (type === compute) return value;
  const width = graph.op("Shape", [x], { start: -1 });
  const zero = graph.op("Sub", [width, width]);
  const sameShape = graph.op("Add", [graph.ints(shape), zero]);
  return cast(context, graph.op("Reshape", [value, sameShape]), compute);
}

/**
 * x Wᵀ with W in blocks. The operator widens a few rows at a time and multiplies in the
 * compute dtype: activations are never rounded, and no copy of W comes to be. Offsets are
 * one number per block, so they are taken off as a product of their own with the sums of
 * x's blocks, a block's size times smaller.
 */
function blockProduct(
  context: GraphContext,
  x: Value,
  name: string,
  span: WeightSpan,
  { bits, size, scales, offsets }: BlockStorage,
): Value {
  const { graph } = context;
  const [outDim, inDim] = span.shape as [number, number];
  const count = Math.ceil(inDim / size);
  const { value } = graph.mapped(name, span, [outDim, count, (size * bits) / 8]);
  const product = graph.op(
    "MatMulNBits",
    [x, value, factor(context, `${name}.scales`, scales)],
    { K: inDim, N: outDim, bits, block_size: size, accuracy_level: 0 },
    "com.microsoft",
  );
  if (offsets === undefined) return product;
  const blocks = graph.op("Reshape", [x, blockShape(context, x, [count, size])]);
  const sums = graph.op("ReduceSum", [blocks, graph.ints([-1])], { keepdims: 0 });
  const table = factor(context, `${name}.offsets`, offsets);
  const transposed = graph.op("Transpose", [table], { perm: [1, 0] });
  return graph.op("Sub", [product, graph.op("MatMul", [sums, transposed])]);
}

/** x's shape with its last dimension taken apart. */
function blockShape({ graph }: GraphContext, x: Value, last: readonly number[]): Value {
  const rest = graph.op("Shape", [x], { end: -1 });
  return graph.op("Concat", [rest, graph.ints(last)], { axis: 0 });
}

/** Scales or offsets in the compute dtype. */
function factor(context: GraphContext, name: string, span: WeightSpan): Value {
  const { value, type } = context.graph.mapped(name, span);
  return type === context.compute ? value : cast(context, value, context.compute);
}
