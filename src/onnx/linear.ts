import type { BlockStorage, Value, WeightSpan } from "./graph.ts";
import { hadamard } from "./hadamard.ts";
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
  const { bits, size, turn: turned } = blocks;
  const parts = blockParts(context, name, span, blocks).map((part) => {
    const { codes, scales, offsets, outDim, inDim, count } = part;
    const whole = bits === 8 ? codes : nibbles(context, codes, [outDim, count, size]);
    const centred = graph.op("Sub", [
      inCompute(context, whole, "u8"),
      constant(context, [2 ** (bits - 1)]),
    ]);
    const perBlock = (table: Value) => reshape(context, table, [outDim, count, 1]);
    let values = graph.op("Mul", [centred, perBlock(scales)]);
    if (offsets !== undefined) values = graph.op("Sub", [values, perBlock(offsets)]);
    const rows = reshape(context, values, [outDim, count * size]);
    return graph.op("Slice", [rows, graph.ints([0]), graph.ints([inDim]), graph.ints([1])]);
  });
  const stored = parts.length === 1 ? parts[0]! : graph.op("Concat", parts, { axis: 1 });
  return turned === 1 ? stored : turn(context, stored, span.shape[1]!, turned);
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
 * x Wᵀ with W in blocks. In integers the operator rounds x to 8 bits too, a block at a time, and
 * works on a copy of W; else it widens W, a few rows at a time. Offsets are one number per block, so
 * they are taken off as a product of their own with the sums of x's blocks, a block's size times smaller.
 */
function blockProduct(
  context: GraphContext,
  x: Value,
  name: string,
  span: WeightSpan,
  blocks: BlockStorage,
): Value {
  const { graph } = context;
  const { bits, size, turn: turned } = blocks;
  if (graph.target.blocks === "integers") graph.pack();
  const parts = blockParts(context, name, span, blocks);
  const fed = turned === 1 ? x : turn(context, x, span.shape[1]!, turned);
  const ranges = parts.length === 1 ? [fed] : ranged(context, fed, parts.length);
  const products = parts.map(({ codes, scales, offsets, outDim, inDim, count }, i) => {
    const narrow = graph.target.blocks === "compute" && size > fastBlock;
    const centred = graph.op(
      "MatMulNBits",
      [
        ranges[i]!,
        narrow ? reshape(context, codes, [outDim, -1, (fastBlock * bits) / 8]) : codes,
        narrow ? repeated(context, scales, [outDim, count], size / fastBlock) : scales,
      ],
      {
        ...{ K: inDim, N: outDim, bits, block_size: narrow ? fastBlock : size },
        accuracy_level: accuracy[graph.target.blocks],
      },
      "com.microsoft",
    );
    if (offsets === undefined) return centred;
    const inBlocks = reshape(context, ranges[i]!, [-1, count, size]);
    const sums = graph.op("ReduceSum", [inBlocks, graph.ints([-1])], { keepdims: 0 });
    return graph.op("Sub", [centred, product(context, sums, offsets)]);
  });
  return products.reduce((sum, next) => graph.op("Add", [sum, next]));
}

/**
 * Without integers: on WebGPU the runtime's product of many rows takes blocks of 32 alone, and
 * others go a way that is ten times slower. A block is as many of them, with one scale.
 */
const fastBlock = 32;

/** A table [out, count] with each value so many times, one behind the other. */
function repeated(
  context: GraphContext,
  table: Value,
  [outDim, count]: readonly [number, number],
  times: number,
): Value {
  const shape = context.graph.ints([outDim, count, times]);
  const each = context.graph.op("Expand", [reshape(context, table, [outDim, count, 1]), shape]);
  return reshape(context, each, [outDim, count * times]);
}

/** `accuracy_level` of MatMulNBits. */
const accuracy = { integers: 4, compute: 0 };

/** x in equal ranges of its last dimension; once for all matrices that x is multiplied with. */
function ranged({ graph }: GraphContext, x: Value, count: number): Value[] {
  return graph.once(`ranges ${x} ${count}`, () =>
    graph.ops("Split", [x], count, { axis: -1, num_outputs: count }),
  );
}

/** x H for x [rows, columns], so many columns at a time; once for all matrices that x is multiplied with. */
function turn(context: GraphContext, x: Value, columns: number, size: number): Value {
  const { graph } = context;
  const matrix = graph.once(`hadamard ${size}`, () =>
    constant(context, [...hadamard(size)], [size, size]),
  );
  return graph.once(`turn ${x} ${size}`, () => {
    const turned = graph.op("MatMul", [reshape(context, x, [-1, size]), matrix]);
    return reshape(context, turned, [-1, columns]);
  });
}

interface BlockPart {
  /** The stored bytes [out, count, size · bits / 8]. */
  readonly codes: Value;
  /** [out, count], in the compute dtype. */
  readonly scales: Value;
  readonly offsets: Value | undefined;
  readonly outDim: number;
  readonly inDim: number;
  readonly count: number;
}

/** The ranges of columns that a matrix is cut into. */
function blockParts(
  context: GraphContext,
  name: string,
  span: WeightSpan,
  { bits, size, parts, scales, offsets }: BlockStorage,
): BlockPart[] {
  const { graph } = context;
  const [outDim, columns] = span.shape as [number, number];
  const inDim = columns / parts;
  const count = Math.ceil(inDim / size);
  return Array.from({ length: parts }, (_, i) => {
    const own = (suffix: string, all: WeightSpan, shape: readonly number[]) => {
      const byteLength = all.byteLength / parts;
      const part = { ...all, shape, byteLength, offset: all.offset + i * byteLength };
      return graph.mapped(`${name}${suffix}${parts === 1 ? "" : `.${i}`}`, part);
    };
    const table = (suffix: string, all: WeightSpan) => {
      const { value, type } = own(suffix, all, [outDim, count]);
      return inCompute(context, value, type);
    };
    return {
      codes: own("", span, [outDim, count, (size * bits) / 8]).value,
      scales: table(".scales", scales),
      offsets: offsets === undefined ? undefined : table(".offsets", offsets),
      ...{ outDim, inDim, count },
    };
  });
}

/** A scale in the compute dtype. */
function factor(context: GraphContext, name: string, span: WeightSpan): Value {
  const { value, type } = context.graph.mapped(name, span);
  return inCompute(context, value, type);
}
