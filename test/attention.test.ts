import { describe, expect, test } from "vitest";
import type { ScoreCuts } from "../src/onnx/attention.ts";
import { attention } from "../src/onnx/attention.ts";
import { GraphBuilder, noWeights } from "../src/onnx/graph.ts";
import { openSession } from "../src/onnx/session.ts";
import type { Target } from "../src/onnx/target.ts";
import { cpuTarget } from "../src/onnx/target.ts";
import { randn } from "../src/sampler/noise.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { testDevices } from "./devices.ts";
import { f32Target } from "./held.ts";

const parts = ["q", "k", "v"] as const;

async function attend(
  target: Target,
  feeds: Record<(typeof parts)[number], Tensor>,
  heads: number,
  cuts: ScoreCuts,
): Promise<Tensor> {
  const graph = new GraphBuilder("attention", noWeights, target);
  const dim = feeds.q.shape[2]!;
  const [q, k, v] = parts.map((name) => graph.input(name, "f32", [1, "tokens", dim]));
  const inputs = { q: q!, k: k!, v: v!, heads, headDim: dim / heads };
  graph.output("out", "f32", [1, "tokens", dim], attention({ graph }, inputs, cuts));
  const session = await openSession(graph.finish(), target);
  const { out } = await session.run(feeds);
  await session.release();
  return out!;
}

const shapes: [heads: number, headDim: number, tokens: number, cuts: ScoreCuts][] = [
  [1, 32, 1, { heads: 1, queries: 1 }],
  [1, 256, 33, { heads: 1, queries: 1 }],
  [2, 128, 320, { heads: 1, queries: 4 }],
  [5, 48, 96, { heads: 4, queries: 1 }],
  [7, 64, 257, { heads: 7, queries: 3 }],
  [13, 32, 640, { heads: 13, queries: 9 }],
  [29, 40, 64, { heads: 4, queries: 1 }],
  [30, 128, 160, { heads: 6, queries: 2 }],
  [40, 32, 100, { heads: 40, queries: 1 }],
];

describe.each(testDevices)("attention in plain operators on %s", (device) => {
  test.each(shapes)("%i heads of %i, %i tokens, %o", async (heads, headDim, tokens, cuts) => {
    const shape = [1, tokens, heads * headDim];
    const feeds = { q: randn(1n, shape), k: randn(2n, shape), v: randn(3n, shape) };
    const fused = await attend(cpuTarget, feeds, heads, cuts);
    const target: Target = { ...(await f32Target(device)), attention: "plain" };
    const plain = await attend(target, feeds, heads, cuts);
    expect(plain).toBeAllclose(fused, { atol: 2e-6, rtol: 0 });
  });
});
