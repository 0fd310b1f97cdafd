import type { TextEncoderConfig } from "./config.ts";

/** The pipeline reads `hidden_states[-2]`: the output of the last layer but one. */
export function layersRead(config: TextEncoderConfig): number {
  return config.layers - 1;
}

/** Every tensor that is read, with its shape. The last layer and the final norm are not. */
export function textEncoderWeights(config: TextEncoderConfig): Map<string, readonly number[]> {
  const { hiddenSize, headDim, intermediateSize } = config;
  const queryDim = config.heads * headDim;
  const keyDim = config.keyValueHeads * headDim;
  const shapes = new Map<string, readonly number[]>([
    ["model.embed_tokens.weight", [config.vocabularySize, hiddenSize]],
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
