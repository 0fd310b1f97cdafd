import { attention, joined, splitRows } from "../onnx/attention.ts";
import type { Value } from "../onnx/graph.ts";
import { reshape, rmsNorm, silu, toCompute, toF32 } from "../onnx/layers.ts";
import type { Dim } from "../onnx/model-proto.ts";
import type { TransformerContext } from "./adapted-linear.ts";
import { adaptedLinear, adaptedNorm } from "./adapted-linear.ts";
import type { TransformerConfig } from "./config.ts";

/** Epsilon of the norms of q and k; fixed in diffusers' `ZImageTransformerBlock`. */
const qkNormEps = 1e-5;

/**
 * Sequences that go through the linear layers as one, [tokens, dim], and are
 * taken apart where tokens meet: attention stays inside each sequence.
 */
export interface Packing {
  /** Name of the dimension that counts the tokens of all sequences. */
  readonly tokens: Dim;
  /** int64 [sequences], the length of each; absent for a single sequence. */
  readonly lengths?: Value;
  readonly sequences: number;
  /** Rope tables of all tokens, each [tokens, headDim/2]. */
  readonly cos: Value;
  readonly sin: Value;
}

/**
 * The four norm scales of a block, each [dim]. Modulation and gates are folded
 * in, so that one block serves both kinds: x·(1+s) after a norm is that norm
 * with scale w·(1+s), and tanh(g)·norm(y) is a norm with scale w·tanh(g).
 */
export interface BlockScales {
  readonly attentionNorm1: Value;
  readonly attentionNorm2: Value;
  readonly ffnNorm1: Value;
  readonly ffnNorm2: Value;
}

/** x [tokens, dim] through attention and feed-forward, each with a residual. */
export function transformerBlock(
  context: TransformerContext,
  config: TransformerConfig,
  name: string,
  x: Value,
  scales: BlockScales,
  packing: Packing,
): Value {
  const { graph } = context;
  const norm = (value: Value, scale: Value) => rmsNorm(context, value, scale, config.normEps);

  const attended = selfAttention(
    context,
    config,
    `${name}.attention`,
    norm(x, scales.attentionNorm1),
    packing,
  );
  const afterAttention = graph.op("Add", [x, norm(attended, scales.attentionNorm2)]);

  const ffnIn = norm(afterAttention, scales.ffnNorm1);
  const ffn = (part: string, value: Value) =>
    adaptedLinear(context, value, `${name}.feed_forward.${part}`, { bias: false });
  const fed = splitRows(context, ffnIn, 0, context.cuts.tokens).map((rows) =>
    ffn("w2", graph.op("Mul", [silu(context, ffn("w1", rows)), ffn("w3", rows)])),
  );
  return graph.op("Add", [afterAttention, norm(joined(context, fed, 0), scales.ffnNorm2)]);
}

function selfAttention(
  context: TransformerContext,
  config: TransformerConfig,
  name: string,
  x: Value,
  packing: Packing,
): Value {
  const { graph } = context;
  const project = (part: string) => adaptedLinear(context, x, `${name}.${part}`, { bias: false });
  const turned = (part: "q" | "k") => {
    const projected = project(`to_${part}`);
    return rotate(context, config, normHeads(context, config, name, part, projected), packing);
  };
  const q = splitSequences(context, turned("q"), packing);
  const k = splitSequences(context, turned("k"), packing);
  const v = splitSequences(context, batched(context, config, project("to_v")), packing);
  const results = q.map((query, i) => {
    const inputs = { q: query, k: k[i]!, v: v[i]!, heads: config.heads, headDim: config.headDim };
    const length = packing.sequences === 1 ? packing.tokens : `${packing.tokens}.${i}`;
    const result = attention(context, inputs, context.cuts);
    return graph.declare(result, graph.target.compute, [1, length, config.dim]);
  });
  const flat = reshape(context, joined(context, results, 1), [-1, config.dim]);
  return adaptedLinear(context, flat, `${name}.to_out.0`, { bias: false });
}

/** RMS norm of each head's features: x [tokens, dim]. Result: [1, tokens, dim]. */
function normHeads(
  context: TransformerContext,
  config: TransformerConfig,
  name: string,
  part: "q" | "k",
  x: Value,
): Value {
  if (!config.qkNorm) return batched(context, config, x);
  const heads = reshape(context, x, [-1, config.heads, config.headDim]);
  const scale = adaptedNorm(context, `${name}.norm_${part}`);
  return batched(context, config, rmsNorm(context, heads, scale, qkNormEps));
}

/** As operators for several batches take it: [1, tokens, dim]. */
function batched(context: TransformerContext, { dim }: TransformerConfig, x: Value): Value {
  return reshape(context, x, [1, -1, dim]);
}

/** Turns adjacent feature pairs of each head by the token's angles, in f32 as the reference does: x [1, tokens, dim]. */
function rotate(
  context: TransformerContext,
  config: TransformerConfig,
  x: Value,
  { cos, sin, tokens }: Packing,
): Value {
  const { graph } = context;
  const turned = graph.declare(
    graph.op(
      "RotaryEmbedding",
      [toF32(context, x), graph.ints([0]), cos, sin],
      { interleaved: 1, num_heads: 0 },
      "com.microsoft",
    ),
    "f32",
    [1, tokens, config.dim],
  );
  return toCompute(context, turned);
}

function splitSequences({ graph }: TransformerContext, x: Value, packing: Packing): Value[] {
  if (packing.lengths === undefined) return [x];
  return graph.ops("Split", [x, packing.lengths], packing.sequences, { axis: 1 });
}
