import type { Tensor } from "../tensor/tensor.ts";
import { sizeOf } from "../tensor/tensor.ts";
import type { Value } from "./graph.ts";
import type { GraphContext } from "./layers.ts";
import { rmsNorm, toCompute } from "./layers.ts";
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
function tensor(
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

function same(operator: string, attributes: Readonly<Record<string, Attribute>> = {}) {
  return ({ graph }: GraphContext, ...inputs: Value[]) => graph.op(operator, inputs, attributes);
}

/** 0 to 15, another order in each row. */
const small = (column: number, row: number) => (column * 3 + row * 5) % 16;

const left = tensor([3, 40], small);
const right = tensor([3, 40], (column, row) => 2 ** ((column + row) % 4));

function each(
  operator: string,
  inputs: readonly Tensor[],
  value: (a: number, b: number) => number,
  build: KnownAnswer["build"] = same(operator),
): KnownAnswer {
  const [a, b = a] = inputs;
  const data = a!.data.map((item, i) => value(item, b!.data[i]!));
  return { operator, inputs, build, expected: { data, shape: a!.shape } };
}

/** Of a sigmoid: σ(ln n) = n / (n + 1), and tanh x = 2σ(2x) - 1. */
const odds = (column: number) => [1 / 3, 1, 3, 7][column % 4]!;

const byElement: readonly KnownAnswer[] = [
  each("Add", [left, right], (a, b) => a + b),
  each("Sub", [left, right], (a, b) => a - b),
  each("Mul", [left, right], (a, b) => a * b),
  each("Div", [left, right], (a, b) => a / b),
  each("Neg", [left], (a) => -a),
  each("Sqrt", [tensor([3, 40], (column) => (column % 16) ** 2)], Math.sqrt),
  {
    operator: "Sigmoid",
    inputs: [tensor([2, 36], (column) => Math.log(odds(column)))],
    build: same("Sigmoid"),
    expected: tensor([2, 36], (column) => odds(column) / (odds(column) + 1)),
  },
  {
    operator: "Tanh",
    inputs: [tensor([2, 36], (column) => Math.log(odds(column)) / 2)],
    build: same("Tanh"),
    expected: tensor([2, 36], (column) => (2 * odds(column)) / (odds(column) + 1) - 1),
  },
  each(
    "Clip",
    [left],
    (a) => Math.min(Math.max(a, 3), 9),
    // In f32, as the graphs do it: there is no such kernel for bf16.
    ({ graph }, x) => {
      const clipped = graph.op("Clip", [
        graph.op("Cast", [x], { to: { element: "f32" } }),
        graph.floats([3], []),
        graph.floats([9], []),
      ]);
      return toCompute({ graph }, clipped);
    },
  ),
];

const alternating = (low: number, high: number) => (column: number) =>
  column % 2 === 0 ? low : high;

/** A row of two values that alternate has their mean and half their distance: norms give ±1. */
function norms(width: number): KnownAnswer[] {
  const scale = tensor([width], (column) => (column % 5) + 1);
  const signed = (column: number) => alternating(-1, 1)(column) * ((column % 5) + 1);
  return [
    {
      operator: "RMSNormalization",
      inputs: [tensor([1, 5, width], alternating(-3, 3)), scale],
      build: (context, x, weight) => rmsNorm(context, x!, weight!, 1e-6),
      expected: tensor([1, 5, width], signed),
    },
    {
      operator: "LayerNormalization",
      inputs: [tensor([1, 5, width], alternating(1, 7)), scale],
      build: same("LayerNormalization", { axis: -1, epsilon: { float: 1e-6 } }),
      expected: tensor([1, 5, width], signed),
    },
  ];
}

/** Rows that sum up to what is asked for, whatever their width. */
const reductions: readonly KnownAnswer[] = [64, 3840].flatMap((width) => {
  const rows = tensor([2, 3, width], (column, row) => (column < 16 ? row + 1 : 0));
  const sums = (power: number, scale: number) =>
    tensor([2, 3, 1], (_, row) => (16 * (row + 1) ** power) / scale);
  const reduce =
    (operator: string): KnownAnswer["build"] =>
    ({ graph }, x) =>
      graph.op(operator, [x!, graph.ints([-1])], { keepdims: 1 });
  return [
    { operator: "ReduceSum", inputs: [rows], build: reduce("ReduceSum"), expected: sums(1, 1) },
    {
      operator: "ReduceSumSquare",
      inputs: [rows],
      build: reduce("ReduceSumSquare"),
      expected: sums(2, 1),
    },
    {
      operator: "ReduceMean",
      inputs: [rows],
      build: reduce("ReduceMean"),
      expected: sums(1, width),
    },
    {
      operator: "Softmax",
      // 1, 2, 4 parts of a whole, by turns; what else is in the row has none.
      inputs: [tensor([3, width], (column) => (column < 21 ? Math.log(2 ** (column % 3)) : -100))],
      build: same("Softmax", { axis: -1 }),
      expected: tensor([3, width], (column) => (column < 21 ? 2 ** (column % 3) / 49 : 0)),
    },
  ] satisfies KnownAnswer[];
});

/** Each row of x picks two rows of w: no sum can hide a value that stands in the wrong place. */
function products(rows: number, inDim: number, outDim: number): KnownAnswer[] {
  const first = (row: number) => (row * 7) % inDim;
  const second = (row: number) => (row * 7 + 5) % inDim;
  const pick = (column: number, row: number) =>
    column === first(row) ? 1 : column === second(row) ? 2 : 0;
  const x = tensor([1, rows, inDim], pick);
  const expected = tensor(
    [1, rows, outDim],
    (column, row) => small(column, first(row)) + 2 * small(column, second(row)),
  );
  const w = tensor([inDim, outDim], small);
  const turned = tensor([outDim, inDim], (column, row) => small(row, column));
  return [
    { operator: "MatMul", inputs: [x, w], build: same("MatMul"), expected },
    {
      operator: "MatMul of a transposed matrix",
      inputs: [x, turned],
      build: ({ graph }, a, b) =>
        graph.op("MatMul", [a!, graph.op("Transpose", [b!], { perm: [1, 0] })]),
      expected,
    },
    {
      operator: "Gemm",
      inputs: [{ ...x, shape: [rows, inDim] }, turned],
      build: same("Gemm", { transB: 1 }),
      expected: { ...expected, shape: [rows, outDim] },
    },
  ];
}

const perHead: KnownAnswer = {
  operator: "MatMul of heads",
  inputs: [
    tensor([1, 3, 37, 16], (column, row) => (column === row % 16 ? 1 : 0)),
    tensor([1, 3, 16, 37], (column, row, head) => small(column, row) + head),
  ],
  build: same("MatMul"),
  expected: tensor([1, 3, 37, 37], (column, row, head) => small(column, row % 16) + head),
};

/** 4096 times 1 + 2^-12 is 4097: neither f16 nor TF32 holds the last of it. */
export const precise: KnownAnswer = {
  operator: "MatMul in f32",
  inputs: [tensor([1, 4, 4096], () => 1 + 2 ** -12), tensor([4096, 32], () => 1)],
  build: same("MatMul"),
  expected: tensor([1, 4, 32], () => 4097),
};

const iota = tensor([2, 6, 8], (column, row, item) => column + 8 * row + 48 * item);

const moves: readonly KnownAnswer[] = [
  {
    operator: "Transpose",
    inputs: [iota],
    build: same("Transpose", { perm: [1, 0, 2] }),
    expected: tensor([6, 2, 8], (column, row, item) => column + 8 * item + 48 * row),
  },
  {
    operator: "Concat",
    inputs: [iota, iota],
    build: same("Concat", { axis: 1 }),
    expected: tensor([2, 12, 8], (column, row, item) => column + 8 * (row % 6) + 48 * item),
  },
  {
    operator: "Split",
    inputs: [iota],
    build: ({ graph }, x) => {
      const parts = graph.ops("Split", [x!, graph.ints([1, 3, 2])], 3, { axis: 1 });
      return graph.op("Concat", [parts[2]!, parts[0]!, parts[1]!], { axis: 1 });
    },
    expected: tensor([2, 6, 8], (column, row, item) => column + 8 * ((row + 4) % 6) + 48 * item),
  },
  {
    operator: "Slice",
    inputs: [iota],
    build: ({ graph }, x) =>
      graph.op("Slice", [x!, graph.ints([2]), graph.ints([5]), graph.ints([1])]),
    expected: tensor([2, 3, 8], (column, row, item) => column + 8 * (row + 2) + 48 * item),
  },
  {
    operator: "Gather",
    inputs: [iota],
    build: ({ graph }, x) => graph.op("Gather", [x!, graph.ints([5, 0, 5])], { axis: 1 }),
    expected: tensor([2, 3, 8], (column, row, item) => column + 8 * [5, 0, 5][row]! + 48 * item),
  },
  {
    operator: "Expand",
    inputs: [tensor([2, 1, 8], small)],
    build: ({ graph }, x) => graph.op("Expand", [x!, graph.ints([2, 5, 8])]),
    expected: tensor([2, 5, 8], (column) => small(column, 0)),
  },
  {
    operator: "RotaryEmbedding",
    // A quarter of a turn for even pairs, none for odd ones.
    inputs: [tensor([1, 4, 16], small)],
    build: ({ graph }, x) => {
      const turned = graph.op(
        "RotaryEmbedding",
        [
          graph.op("Cast", [x!], { to: { element: "f32" } }),
          graph.ints([0]),
          graph.floats(
            Array.from({ length: 16 }, (_, i) => i % 2),
            [4, 4],
          ),
          graph.floats(
            Array.from({ length: 16 }, (_, i) => 1 - (i % 2)),
            [4, 4],
          ),
        ],
        { interleaved: 1, num_heads: 0 },
        "com.microsoft",
      );
      return toCompute({ graph }, graph.declare(turned, "f32", [1, 4, 16]));
    },
    expected: tensor([1, 4, 16], (column, row) => {
      if (Math.floor(column / 2) % 2 === 1) return small(column, row);
      return column % 2 === 0 ? -small(column + 1, row) : small(column - 1, row);
    }),
  },
];

const pictures: readonly KnownAnswer[] = [
  {
    operator: "Conv",
    // Ones count the neighbours that a pixel has.
    inputs: [tensor([1, 8, 5, 7], () => 1), tensor([6, 8, 3, 3], () => 1), tensor([6], (i) => i)],
    build: same("Conv", { kernel_shape: [3, 3], pads: [1, 1, 1, 1] }),
    expected: tensor([1, 6, 5, 7], (x, y, channel) => {
      const across = x === 0 || x === 6 ? 2 : 3;
      const down = y === 0 || y === 4 ? 2 : 3;
      return 8 * across * down + channel;
    }),
  },
  {
    operator: "Conv",
    // One weight that takes the pixel above and to the right.
    inputs: [
      tensor([1, 4, 6, 6], small),
      tensor([4, 4, 3, 3], (x, y, i) => (x === 2 && y === 0 && i % 5 === 0 ? 1 : 0)),
    ],
    build: same("Conv", { kernel_shape: [3, 3], pads: [1, 1, 1, 1] }),
    expected: tensor([1, 4, 6, 6], (x, y) => (x === 5 || y === 0 ? 0 : small(x + 1, y - 1))),
  },
  {
    operator: "Conv of 1x1",
    inputs: [
      tensor([1, 4, 6, 6], (x, y, channel) => small(x, y) + channel),
      tensor([8, 4, 1, 1], (_x, _y, i) => (i % 4 === Math.floor(i / 4) % 4 ? 2 : 0)),
    ],
    build: same("Conv", { kernel_shape: [1, 1] }),
    expected: tensor([1, 8, 6, 6], (x, y, channel) => 2 * (small(x, y) + (channel % 4))),
  },
  {
    operator: "Resize",
    inputs: [tensor([1, 3, 4, 5], (x, y, channel) => small(x, y) + channel)],
    // In f32, as the graphs do it: there is no such kernel for bf16.
    build: ({ graph }, x) => {
      const larger = graph.op(
        "Resize",
        [graph.op("Cast", [x!], { to: { element: "f32" } }), "", graph.floats([1, 1, 2, 2])],
        {
          mode: "nearest",
          coordinate_transformation_mode: "asymmetric",
          nearest_mode: "floor",
        },
      );
      return toCompute({ graph }, larger);
    },
    expected: tensor([1, 3, 8, 10], (x, y, channel) => small(x >> 1, y >> 1) + channel),
  },
];

/** A byte of a block less its half, times the block's scale; four bits likewise, two in a byte. */
function blocks(bits: 4 | 8, size: number): KnownAnswer {
  const [rows, inDim, outDim] = [3, 256, 24];
  const count = inDim / size;
  const half = 2 ** (bits - 1);
  const number = (column: number, row: number) => ((column + 2 * row) % 7) - 3;
  const scale = (block: number, row: number) => 2 ** ((block + row) % 3);
  const bytes = Array.from({ length: (outDim * inDim * bits) / 8 }, (_, i) => {
    const at = (column: number, row: number) => half + number(column, row);
    const perRow = (inDim * bits) / 8;
    const [row, byte] = [Math.floor(i / perRow), i % perRow];
    return bits === 8 ? at(byte, row) : at(2 * byte, row) + 16 * at(2 * byte + 1, row);
  });
  const picked = (row: number) => row * 67 + 5;
  return {
    operator: `MatMulNBits of ${bits} bits`,
    inputs: [tensor([1, rows, inDim], (column, row) => (column === picked(row) ? 1 : 0))],
    build: (context, x) => {
      const { graph } = context;
      const scales = tensor([outDim, count], scale);
      const product = graph.op(
        "MatMulNBits",
        [
          x!,
          graph.bytes(bytes, [outDim, count, (size * bits) / 8]),
          toCompute(context, graph.floats([...scales.data], scales.shape)),
        ],
        { K: inDim, N: outDim, bits, block_size: size, accuracy_level: 0 },
        "com.microsoft",
      );
      return graph.declare(product, graph.target.compute, [1, rows, outDim]);
    },
    expected: tensor(
      [1, rows, outDim],
      (column, row) => number(picked(row), column) * scale(Math.floor(picked(row) / size), column),
    ),
  };
}

/** f16 weights are widened on the device; an adapter without f16 can't. */
export const halves: KnownAnswer = {
  operator: "Cast of f16",
  inputs: [left],
  build: ({ graph }, x) => {
    const half = graph.op("Cast", [x!], { to: { element: "f16" } });
    return graph.op("Cast", [half], { to: { element: graph.target.compute } });
  },
  expected: left,
};

export const knownAnswers: readonly KnownAnswer[] = [
  ...byElement,
  ...norms(64),
  ...norms(3840),
  ...reductions,
  ...products(5, 64, 48).slice(0, 1),
  ...products(70, 256, 192),
  perHead,
  ...moves,
  ...pictures,
  blocks(8, 32),
  blocks(8, 128),
  blocks(4, 32),
];

/** With q = k = 0 each token is the mean of all; with q = k = a large one of its own, itself. */
export function attentionAnswers([tokens, heads, headDim]: readonly [
  number,
  number,
  number,
]): KnownAnswer[] {
  const shape = [1, tokens, heads * headDim];
  const v = tensor(shape, (column, token) => (column + token) % 2);
  const zero = tensor(shape, () => 0);
  const operator = "MultiHeadAttention";
  const build: KnownAnswer["build"] = ({ graph }, q, k, value) =>
    graph.declare(
      graph.op(operator, [q!, k!, value!], { num_heads: heads }, "com.microsoft"),
      graph.target.compute,
      shape,
    );
  // Odd features hold a one for each even token, which are one more where there is an odd number.
  const share = (column: number) =>
    (column % 2 === 1 ? Math.ceil : Math.floor)(tokens / 2) / tokens;
  const means = tensor(shape, share);
  const mean = { operator, inputs: [zero, zero, v], build, expected: means };
  if (tokens > headDim) return [mean];
  const own = tensor(shape, (column, token) => (column % headDim === token ? 64 : 0));
  return [mean, { operator, inputs: [own, own, v], build, expected: v }];
}
