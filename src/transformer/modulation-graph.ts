import type { Model, Value, WeightLookup } from "../onnx/graph.ts";
import { GraphBuilder } from "../onnx/graph.ts";
import { constant, silu, toCompute, toF32 } from "../onnx/layers.ts";
import type { Target } from "../onnx/target.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { TransformerContext } from "./adapted-linear.ts";
import { adaptedLinear, adaptedNorm } from "./adapted-linear.ts";
import type { AdapterShape } from "./adapter.ts";
import type { TransformerConfig } from "./config.ts";
import { uncut } from "./cuts.ts";
import { finalLayer, modulatedBlocks, timeVectorDim } from "./weight-shapes.ts";

const { fround } = Math;

/**
 * The sinusoidal vectors that tell the network how far denoising has come: per
 * timestep T the value a = (1000 - T)/1000 · timeScale, then cos(a·f_k) and
 * sin(a·f_k) with f_k = 10000^(-k/128). Each operation rounds to f32, as
 * diffusers' `TimestepEmbedder.timestep_embedding` does.
 *
 * @param timesteps [steps], 1000·sigma
 * @returns [steps, 256]
 */
export function timeVectors(timesteps: Float32Array, timeScale: number): Tensor {
  const half = timeVectorDim / 2;
  const data = new Float32Array(timesteps.length * timeVectorDim);
  for (const [row, timestep] of timesteps.entries()) {
    const time = fround(fround(fround(1000 - timestep) / 1000) * timeScale);
    for (let k = 0; k < half; k++) {
      const frequency = fround(Math.exp(fround(fround(fround(-Math.log(10000)) * k) / half)));
      const angle = fround(time * frequency);
      data[row * timeVectorDim + k] = Math.cos(angle);
      data[row * timeVectorDim + half + k] = Math.sin(angle);
    }
  }
  return { data, shape: [timesteps.length, timeVectorDim] };
}

/** Scales per block: attention_norm1, attention_norm2, ffn_norm1, ffn_norm2. */
export const scalesPerBlock = 4;

/**
 * The part of the network that depends on the timestep alone: from time vectors
 * to the scale of each norm of each block, modulation and gates folded in (see
 * `BlockScales`). Once per request, for all steps.
 *
 * Input: `time` [steps, 256]. Outputs: `scales` [steps, 4·blocks, dim] and
 * `final_scale` [steps, dim].
 */
export function buildModulationGraph(
  config: TransformerConfig,
  lookup: WeightLookup,
  target: Target,
  adapted: ReadonlyMap<string, AdapterShape>,
): Model {
  const graph = new GraphBuilder("modulation", lookup, target);
  const context = { graph, adapted, cuts: uncut };
  const time = toCompute(context, graph.input("time", "f32", ["steps", timeVectorDim]));
  const hidden = silu(context, adaptedLinear(context, time, "t_embedder.mlp.0", { bias: true }));
  const embedded = adaptedLinear(context, hidden, "t_embedder.mlp.2", { bias: true });

  const blocks = modulatedBlocks(config);
  if (blocks.length > 0) {
    const scales = blocks.flatMap((block) => blockScales(context, config, block, embedded));
    const rows = scales.map((scale) => graph.op("Unsqueeze", [scale, graph.ints([1])]));
    const table = graph.op("Concat", rows, { axis: 1 });
    const shape = ["steps", scalesPerBlock * blocks.length, config.dim];
    graph.output("scales", "f32", shape, toF32(context, table));
  }
  const final = adaptedLinear(
    context,
    silu(context, embedded),
    `${finalLayer}.adaLN_modulation.1`,
    {
      bias: true,
    },
  );
  graph.output(
    "final_scale",
    "f32",
    ["steps", config.dim],
    toF32(context, plusOne(context, final)),
  );
  return graph.finish();
}

/** Four tensors of [steps, dim]. */
function blockScales(
  context: TransformerContext,
  { dim }: TransformerConfig,
  block: string,
  embedded: Value,
): Value[] {
  const { graph } = context;
  const modulation = adaptedLinear(context, embedded, `${block}.adaLN_modulation.0`, {
    bias: true,
  });
  const [scaleAttention, gateAttention, scaleFfn, gateFfn] = graph.ops(
    "Split",
    [modulation, graph.ints([dim, dim, dim, dim])],
    4,
    { axis: 1 },
  );
  const folded = (norm: string, factor: Value) =>
    graph.op("Mul", [adaptedNorm(context, `${block}.${norm}`), factor]);
  return [
    folded("attention_norm1", plusOne(context, scaleAttention!)),
    folded("attention_norm2", graph.op("Tanh", [gateAttention!])),
    folded("ffn_norm1", plusOne(context, scaleFfn!)),
    folded("ffn_norm2", graph.op("Tanh", [gateFfn!])),
  ];
}

function plusOne(context: TransformerContext, x: Value): Value {
  return context.graph.op("Add", [x, constant(context, [1])]);
}
