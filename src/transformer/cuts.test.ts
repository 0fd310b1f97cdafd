import { expect, test } from "vitest";
import type { Target } from "../onnx/target.ts";
import { cpuTarget } from "../onnx/target.ts";
import type { TransformerConfig } from "./config.ts";
import { cutsFor, uncut } from "./cuts.ts";

const real = { heads: 30, hiddenDim: 10240 } as TransformerConfig;
const plain: Target = { ...cpuTarget, attention: "plain" };
const mebi = 2 ** 20;

test("nothing is cut where attention is fused and no limit is known", () => {
  expect(cutsFor(cpuTarget, real, 20_000, 2)).toEqual(uncut);
});

test("attention in plain operators is cut as soon as its scores are many", () => {
  expect(cutsFor(plain, real, 1056, 1)).toEqual({ heads: 1, queries: 1, tokens: 1 });
  expect(cutsFor(plain, real, 4608, 1)).toEqual({ heads: 30, queries: 1, tokens: 1 });
  expect(cutsFor(plain, real, 16_896, 1)).toEqual({ heads: 30, queries: 9, tokens: 1 });
});

test("on WebGPU the feed-forward is cut into what the runtime keeps buffers for", () => {
  const webgpu: Target = { ...plain, device: "webgpu" };
  expect(cutsFor(webgpu, real, 1056, 1).tokens).toBe(1);
  expect(cutsFor(webgpu, real, 4608, 1).tokens).toBe(2);
  expect(cutsFor(webgpu, real, 4608, 2).tokens).toBe(3);
});

test.each([mebi, 16 * mebi, 128 * mebi, 1024 * mebi])("no part is larger than %i bytes", (most) => {
  for (const heads of [1, 5, 13, 30]) {
    for (let tokens = 32; tokens < 20_000; tokens += 32) {
      for (const sequences of [1, 2]) {
        const target = { ...plain, maxBufferBytes: most };
        const cuts = cutsFor(target, { ...real, heads }, tokens, sequences);
        const rows = Math.ceil(tokens / cuts.queries);
        const scores = 4 * Math.ceil(heads / cuts.heads) * rows * tokens;
        if (rows > 64) expect(scores).toBeLessThanOrEqual(most);
        const together = Math.ceil((sequences * tokens) / cuts.tokens);
        if (together > 64) expect(4 * together * real.hiddenDim).toBeLessThanOrEqual(most);
      }
    }
  }
});
