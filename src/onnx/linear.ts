import type { BlockStorage, Value, WeightSpan } from "./graph.ts";
import type { GraphContext } from "./layers.ts";
import { constant, inCompute, reshape, weight } from "./layers.ts";

/**
 * y = x Wᵀ + b: x [rows, in], weight `name`.weight [out, in] in any storage, bias `name`.bias
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
  const unscaled =
    span.blocks === undefined
      ? product(context, x, weight(context, `${name}.weight`))
      : blockProduct(context, x, `${name}.weight`, span, span.blocks);
  const scaled =
    span.scale === undefined
      ? unscaled
      : graph.op("Mul", [unscaled, factor(context, `${name}.weight.scale`, span.scale)]);
  return bias ? graph.op("Add", [scaled, weight(context, `${name}.bias`)]) : scaled;
}

/** x wᵀ: x [rows, in], w [out, in]. No transposed copy of w comes to be on any device. */
export function product({ graph }: GraphContext, x: Value, w: Value): Value {
  return graph.op("Gemm", [x, w], { transB: 1 });
}

/**
 * A whole matrix [out, in] in the compute dtype, whatever its storage. For what is more than a
 * product with it, as a row's length; products never need it.
 */
export function wholeMatrix(context: GraphContext, name: string): Value {
  const { graph } = context;
  const span = graph.span(name);
  const matrix =
    span.blocks === undefined
      ? weight(context, name)
      : blockMatrix(context, name, span, span.blocks);
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
  name: string,
  span: WeightSpan,
  blocks: BlockStorage,
): Value {
  const { graph } = context;
  const { value, outDim, inDim, count } = mappedBlocks(context, name, span, blocks);
  const { bits, size, scales, offsets } = blocks;
  const whole = bits === 8 ? value : nibbles(context, value, [outDim, count, size]);
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
  const centred = graph.op(
    "MatMulNBits",
    [x, value, factor(context, `${name}.scales`, scales)],
    { K: inDim, N: outDim, bits, block_size: size, accuracy_level: 0 },
    "com.microsoft",
  );
  if (offsets === undefined) return centred;
  const parts = reshape(context, x, [-1, count, size]);
  const sums = graph.op("ReduceSum", [parts, graph.ints([-1])], { keepdims: 0 });
  const table = factor(context, `${name}.offsets`, offsets);
  return graph.op("Sub", [centred, product(context, sums, table)]);
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

/** Scales or offsets in the compute dtype. */
function factor(context: GraphContext, name: string, span: WeightSpan): Value {
  const { value, type } = context.graph.mapped(name, span);
  return inCompute(context, value, type);
}
