import type { KnownAnswer } from "./known-answer.ts";
import { same, small, tensor } from "./known-answer.ts";
import { toCompute } from "./layers.ts";

// Products, convolutions and attention.

/** Each row of x picks two rows of w: no sum can hide a value that stands in the wrong place. */
export function products(rows: number, inDim: number, outDim: number): KnownAnswer[] {
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

export const perHead: KnownAnswer = {
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

export const pictures: readonly KnownAnswer[] = [
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
export function blocks(bits: 4 | 8, size: number): KnownAnswer {
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

/** With q = k = 0 each token is the mean of all; with q = k = a large one of its own, itself. */
export function attentionAnswers([tokens, heads, headDim]: readonly [
  number,
  number,
  number,
]): KnownAnswer[] {
  const shape = [1, tokens, heads * headDim];
  // No two neighbours alike, in either direction, and a quarter of the tokens unlike the others: what
  // counts a token, a feature or a tile of tokens too often shows.
  const first = Math.ceil(tokens / 4);
  const v = tensor(shape, (column, token) => (column % 3) + (token % 4) + (token < first ? 8 : 0));
  const zero = tensor(shape, () => 0);
  const operator = "MultiHeadAttention";
  const build: KnownAnswer["build"] = ({ graph }, q, k, value) =>
    graph.declare(
      graph.op(operator, [q!, k!, value!], { num_heads: heads }, "com.microsoft"),
      graph.target.compute,
      shape,
    );
  const rest = tokens % 4;
  const sum = 6 * Math.floor(tokens / 4) + (rest * (rest - 1)) / 2 + 8 * first;
  const means = tensor(shape, (column) => (column % 3) + sum / tokens);
  const even = { operator, inputs: [zero, zero, v], build, expected: means };
  if (tokens > headDim) return [even];
  const own = tensor(shape, (column, token) => (column % headDim === token ? 64 : 0));
  return [even, { operator, inputs: [own, own, v], build, expected: v }];
}
