import type { Model, Value, WeightLookup } from "../onnx/graph.ts";
import { GraphBuilder } from "../onnx/graph.ts";
import type { GraphContext } from "../onnx/layers.ts";
import { inCompute, reshape, rmsNorm, silu, toCompute, toF32, weight } from "../onnx/layers.ts";
import { linear } from "../onnx/linear.ts";
import type { Target } from "../onnx/target.ts";
import { cpuTarget } from "../onnx/target.ts";
import type { TextEncoderConfig } from "./config.ts";
import { layersRead } from "./config.ts";

/**
 * The rows of the table of tokens. On the CPU for every device: a request reads a few hundred rows
 * of a table that is larger than what some devices take, and a tenth of the network's weights.
 *
 * Input: `input_ids` int64 [length]. Output: `embeds` [length, hiddenSize].
 */
export function buildEmbeddings({ hiddenSize }: TextEncoderConfig, lookup: WeightLookup): Model {
  const graph = new GraphBuilder("embeddings", lookup, cpuTarget);
  const ids = graph.input("input_ids", "i64", ["length"]);
  const table = graph.weight("model.embed_tokens.weight");
  // Rows are picked before they are widened.
  const rows = graph.op("Gather", [table.value, ids], { axis: 0 });
  graph.output("embeds", "f32", ["length", hiddenSize], inCompute({ graph }, rows, table.type));
  return graph.finish();
}

/**
 * Qwen3 up to the output of its last layer but one.
 *
 * Inputs: `embeds` [length, hiddenSize], `cos` and `sin` [length, headDim], `mask`
 * [length, length] with 0 where a token may look and a very low number where it
 * may not. Output: `prompt_embeds` [length, hiddenSize].
 */
export function buildTextEncoder(
  config: TextEncoderConfig,
  lookup: WeightLookup,
  target: Target,
): Model {
  const graph = new GraphBuilder("text_encoder", lookup, target);
  const context = { graph };
  const fed = (name: string, width: number | string) => graph.input(name, "f32", ["length", width]);
  const rope = {
    cos: toCompute(context, fed("cos", config.headDim)),
    sin: toCompute(context, fed("sin", config.headDim)),
  };
  const mask = fed("mask", "length");
  let x = toCompute(context, fed("embeds", config.hiddenSize));
  for (let i = 0; i < layersRead(config); i++) {
    x = decoderLayer(context, config, `model.layers.${i}`, x, rope, mask);
  }
  graph.output("prompt_embeds", "f32", ["length", config.hiddenSize], toF32(context, x));
  return graph.finish();
}

interface Rope {
  readonly cos: Value;
  readonly sin: Value;
}

/** x [length, hiddenSize]. */
function decoderLayer(
  context: GraphContext,
  config: TextEncoderConfig,
  name: string,
  x: Value,
  rope: Rope,
  mask: Value,
): Value {
  const { graph } = context;
  const norm = (part: string, value: Value) =>
    rmsNorm(context, value, weight(context, `${name}.${part}.weight`), config.normEps);
  const project = (part: string, value: Value) =>
    linear(context, value, `${name}.${part}`, { bias: false });

  const attended = attention(
    context,
    config,
    `${name}.self_attn`,
    norm("input_layernorm", x),
    rope,
    mask,
  );
  const afterAttention = graph.op("Add", [x, attended]);
  const mlpIn = norm("post_attention_layernorm", afterAttention);
  const gated = graph.op("Mul", [
    silu(context, project("mlp.gate_proj", mlpIn)),
    project("mlp.up_proj", mlpIn),
  ]);
  return graph.op("Add", [afterAttention, project("mlp.down_proj", gated)]);
}

/** Causal attention in plain operators: of at most 512 tokens, so that the scores of 128 heads fit any device. */
function attention(
  context: GraphContext,
  config: TextEncoderConfig,
  name: string,
  x: Value,
  rope: Rope,
  mask: Value,
): Value {
  const { graph } = context;
  const { keyValueHeads, headDim } = config;
  const groups = config.heads / keyValueHeads;
  const project = (part: string) => linear(context, x, `${name}.${part}_proj`, { bias: false });
  const heads = (part: "q" | "k", count: number) => {
    const split = reshape(context, project(part), [-1, count, headDim]);
    const scale = weight(context, `${name}.${part}_norm.weight`);
    const normed = rmsNorm(context, split, scale, config.normEps);
    return rotateHalves(
      context,
      headDim,
      graph.op("Transpose", [normed], { perm: [1, 0, 2] }),
      rope,
    );
  };
  // Query heads stand in groups: each group's heads share one key and value head.
  const q = reshape(context, heads("q", config.heads), [keyValueHeads, groups, -1, headDim]);
  const k = reshape(context, heads("k", keyValueHeads), [keyValueHeads, 1, -1, headDim]);
  const v = reshape(
    context,
    graph.op("Transpose", [reshape(context, project("v"), [-1, keyValueHeads, headDim])], {
      perm: [1, 0, 2],
    }),
    [keyValueHeads, 1, -1, headDim],
  );
  const products = graph.op("MatMul", [q, graph.op("Transpose", [k], { perm: [0, 1, 3, 2] })]);
  const scaled = graph.op("Mul", [toF32(context, products), graph.floats([headDim ** -0.5], [])]);
  const probabilities = graph.op("Softmax", [graph.op("Add", [scaled, mask])], { axis: -1 });
  const mixed = graph.op("MatMul", [toCompute(context, probabilities), v]);
  const joined = reshape(
    context,
    graph.op("Transpose", [reshape(context, mixed, [config.heads, -1, headDim])], {
      perm: [1, 0, 2],
    }),
    [-1, config.heads * headDim],
  );
  return linear(context, joined, `${name}.o_proj`, { bias: false });
}

/** Qwen's rope: feature j turns with j + headDim/2. x [heads, length, headDim]. */
function rotateHalves(
  { graph }: GraphContext,
  headDim: number,
  x: Value,
  { cos, sin }: Rope,
): Value {
  const [first, second] = graph.ops("Split", [x, graph.ints([headDim / 2, headDim / 2])], 2, {
    axis: -1,
  });
  const turned = graph.op("Concat", [graph.op("Neg", [second!]), first!], { axis: -1 });
  return graph.op("Add", [graph.op("Mul", [x, cos]), graph.op("Mul", [turned, sin])]);
}
