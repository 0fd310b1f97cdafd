import type { BlockStorage, Value, WeightSpan } from "./graph.ts";
import type { GraphContext } from "./layers.ts";
import { constant, inCompute, waitFor, weight } from "./layers.ts";

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

/** A matrix in the compute dtype, widened only once `x`, which it will multiply, is there. */
function matrixFor(context: GraphContext, x: Value, name: string): Value {
  const { graph } = context;
  const { value, type } = graph.weight(name);
  if (type === graph.target.compute) return value;
  return inCompute(context, waitFor(context, value, x), type);
}

/**
 * A whole matrix [out, in] in the compute dtype, whatever its storage, once `x` is there. For
 * what is more than a product with it, as a row's length; products never need it.
 */
export function wholeMatrix(context: GraphContext, x: Value, name: string): Value {
  const { graph } = context;
  const span = graph.span(name);
  const matrix =
    span.blocks === undefined
      ? matrixFor(context, x, name)
      : blockMatrix(context, x, name, span, span.blocks);
  if (span.scale === undefined) return matrix;
  // One factor for all, or one a row.
  const column = graph.op("Reshape", [
    factor(context, `${name}.scale`, span.scale),
    graph.ints([-1, 1]),
  ]);
  return graph.op("Mul", [matrix, column]);
}

function blockMatrix(
  context: GraphContext,
  x: Value,
  name: string,
  span: WeightSpan,
  blocks: BlockStorage,
): Value {
  const { graph } = context;
  const { value, outDim, inDim, count } = mappedBlocks(context, name, span, blocks);
  const { bits, size, scales, offsets } = blocks;
  const stored = waitFor(context, value, x);
  const whole = bits === 8 ? stored : nibbles(context, stored, [outDim, count, size]);
  const centred = graph.op("Sub", [
    inCompute(context, whole, "u8"),
    constant(context, [2 ** (bits - 1)]),
  ]);
  const perBlock = (part: string, own: WeightSpan) =>
    graph.op("Reshape", [factor(context, `${name}.${part}`, own), graph.ints([outDim, count, 1])]);
  let values = graph.op("Mul", [centred, perBlock("scales", scales)]);
  if (offsets !== undefined) values = graph.op("Sub", [values, perBlock("offsets", offsets)]);
  const rows = graph.op("Reshape", [values, graph.ints([outDim, count * size])]);
  return graph.op("Slice", [rows, graph.ints([0]), graph.ints([inDim]), graph.ints([1])]);
}

/** Two values of four bits in each byte, the low one first. */
function nibbles({ graph }: GraphContext, bytes: Value, shape: readonly number[]): Value {
  const low = graph.op("BitwiseAnd", [bytes, graph.bytes([15])]);
  const high = graph.op("BitShift", [bytes, graph.bytes([4])], { direction: "RIGHT" });
  const last = graph.ints([-1]);
  const pairs = graph.op(
    "Concat",
    [graph.op("Unsqueeze", [low, last]), graph.op("Unsqueeze", [high, last])],
    { axis: -1 },
  );
  return graph.op("Reshape", [pairs, graph.ints(shape)]);
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
  blocks: BlockStorage,
): Value {
  const { graph } = context;
  const { value, outDim, inDim, count } = mappedBlocks(context, name, span, blocks);
  const { bits, size, scales, offsets } = blocks;
  const product = graph.op(
    "MatMulNBits",
    [x, value, factor(context, `${name}.scales`, scales)],
    { K: inDim, N: outDim, bits, block_size: size, accuracy_level: 0 },
    "com.microsoft",
  );
  if (offsets === undefined) return product;
  const parts = graph.op("Reshape", [x, blockShape(context, x, [count, size])]);
  const sums = graph.op("ReduceSum", [parts, graph.ints([-1])], { keepdims: 0 });
  const table = factor(context, `${name}.offsets`, offsets);
  const transposed = graph.op("Transpose", [table], { perm: [1, 0] });
  return graph.op("Sub", [product, graph.op("MatMul", [sums, transposed])]);
}

/** The stored bytes [out, count, size · bits / 8], and those dimensions. */
function mappedBlocks(
  { graph }: GraphContext,
  name: string,
  span: WeightSpan,
  { bits, size }: BlockStorage,
): { value: Value; outDim: number; inDim: number; count: number } {
  const [outDim, inDim] = span.shape as [number, number];
  const count = Math.ceil(inDim / size);
  const { value } = graph.mapped(name, span, [outDim, count, (size * bits) / 8]);
  return { value, outDim, inDim, count };
}

/** x's shape with its last dimension taken apart. */
function blockShape({ graph }: GraphContext, x: Value, last: readonly number[]): Value {
  const rest = graph.op("Shape", [x], { end: -1 });
  return graph.op("Concat", [rest, graph.ints(last)], { axis: 0 });
}

/** Scales or offsets in the compute dtype. */
function factor(context: GraphContext, name: string, span: WeightSpan): Value {
  const { value, type } = context.graph.mapped(name, span);
  return inCompute(context, value, type);
}
