import { z } from "zod";
import { InputError } from "../errors.ts";
import { parseConfig } from "../weights/parse-config.ts";

/** Far above any real model: a hostile configuration must not make us build without end. */
const positive = z.int().positive().max(10_000_000);
const off = z.union([z.literal(false), z.null()]).optional();

/** `text_encoder/config.json` of Qwen3. What would change the maths and is not computed is refused. */
const schema = z.object({
  model_type: z.literal("qwen3"),
  hidden_size: positive,
  num_hidden_layers: z.int().min(2).max(1000),
  intermediate_size: positive,
  num_attention_heads: positive,
  num_key_value_heads: positive,
  head_dim: positive.refine((dim) => dim % 2 === 0, "must be even"),
  rms_norm_eps: z.number().positive(),
  vocab_size: positive,
  hidden_act: z.literal("silu"),
  attention_bias: off,
  use_sliding_window: off,
  rope_theta: z.number().positive().optional(),
  rope_scaling: z.null().optional(),
  // Where transformers from 5.0 on keeps the two above.
  rope_parameters: z
    .object({ rope_theta: z.number().positive(), rope_type: z.literal("default").optional() })
    .optional(),
});

export interface TextEncoderConfig {
  readonly hiddenSize: number;
  /** All decoder layers of the model; the last one is not computed. */
  readonly layers: number;
  readonly intermediateSize: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headDim: number;
  readonly normEps: number;
  readonly vocabularySize: number;
  readonly ropeTheta: number;
}

/** @throws InputError naming the file and each key that is missing or not supported */
export function parseTextEncoderConfig(json: unknown, file: string): TextEncoderConfig {
  const config = parseConfig(
    schema,
    json,
    file,
    "the configuration of a Qwen3 that Retake computes",
  );
  const ropeTheta = config.rope_theta ?? config.rope_parameters?.rope_theta;
  if (ropeTheta === undefined) throw new InputError(`${file} has no rope_theta.`);
  if (config.num_attention_heads % config.num_key_value_heads !== 0) {
    throw new InputError(`${file}: num_attention_heads must be a multiple of num_key_value_heads.`);
  }
  return {
    hiddenSize: config.hidden_size,
    layers: config.num_hidden_layers,
    intermediateSize: config.intermediate_size,
    heads: config.num_attention_heads,
    keyValueHeads: config.num_key_value_heads,
    headDim: config.head_dim,
    normEps: config.rms_norm_eps,
    vocabularySize: config.vocab_size,
    ropeTheta,
  };
}

/** The pipeline reads `hidden_states[-2]`: the output of the last layer but one. */
export function layersRead(config: TextEncoderConfig): number {
  return config.layers - 1;
}

const embeddings = "model.embed_tokens.weight";

/** Every tensor that is read, with its shape. The last layer and the final norm are not. */
export function textEncoderWeights(config: TextEncoderConfig): Map<string, readonly number[]> {
  const { hiddenSize, headDim, intermediateSize } = config;
  const queryDim = config.heads * headDim;
  const keyDim = config.keyValueHeads * headDim;
  const shapes = new Map<string, readonly number[]>([
    [embeddings, [config.vocabularySize, hiddenSize]],
  ]);
  for (let i = 0; i < layersRead(config); i++) {
    const layer = {
      "self_attn.q_proj": [queryDim, hiddenSize],
      "self_attn.k_proj": [keyDim, hiddenSize],
      "self_attn.v_proj": [keyDim, hiddenSize],
      "self_attn.o_proj": [hiddenSize, queryDim],
      "self_attn.q_norm": [headDim],
      "self_attn.k_norm": [headDim],
      "mlp.gate_proj": [intermediateSize, hiddenSize],
      "mlp.up_proj": [intermediateSize, hiddenSize],
      "mlp.down_proj": [hiddenSize, intermediateSize],
      input_layernorm: [hiddenSize],
      post_attention_layernorm: [hiddenSize],
    };
    for (const [name, shape] of Object.entries(layer)) {
      shapes.set(`model.layers.${i}.${name}.weight`, shape);
    }
  }
  return shapes;
}

/** Its matrices that are products' weights: all but the embeddings. */
export function textEncoderLinears(config: TextEncoderConfig): string[] {
  return [...textEncoderWeights(config)]
    .filter(([name, shape]) => shape.length === 2 && name !== embeddings)
    .map(([name]) => name);
}
