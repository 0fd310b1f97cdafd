import type { Tensor } from "../tensor/tensor.ts";
import type { KnownAnswer } from "./known-answer.ts";
import { same, small, tensor } from "./known-answer.ts";
import { rmsNorm, toCompute } from "./layers.ts";

// Operators on single values and along rows, and those that move values.

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

export const byElement: readonly KnownAnswer[] = [
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
    operator: "Exp",
    inputs: [tensor([2, 36], (column) => Math.log(odds(column)))],
    build: same("Exp"),
    expected: tensor([2, 36], odds),
  },
  each("Max", [left, right], Math.max),
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
export function norms(width: number): KnownAnswer[] {
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
export const reductions: readonly KnownAnswer[] = [64, 3840].flatMap((width) => {
  const rows = tensor([2, 3, width], (column, row) => (column < 16 ? row + 1 : 0));
  const sums = (power: number, scale: number) =>
    tensor([2, 3, 1], (_, row) => (16 * (row + 1) ** power) / scale);
  // In f32, as the graphs do it: CUDA has most of them in no narrower type.
  const reduce =
    (operator: string): KnownAnswer["build"] =>
    ({ graph }, x) => {
      const wide = graph.op("Cast", [x!], { to: { element: "f32" } });
      const reduced = graph.op(operator, [wide, graph.ints([-1])], { keepdims: 1 });
      return toCompute({ graph }, reduced);
    };
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
      operator: "ReduceMax",
      inputs: [
        tensor([2, 3, width], (column, row) => (column === 17 + row ? 1 : -1 - (column % 5))),
      ],
      build: reduce("ReduceMax"),
      expected: tensor([2, 3, 1], () => 1),
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

const iota = tensor([2, 6, 8], (column, row, item) => column + 8 * row + 48 * item);

export const moves: readonly KnownAnswer[] = [
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
