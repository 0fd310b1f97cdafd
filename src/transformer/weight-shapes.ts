import type { TransformerConfig } from "./config.ts";
import { patchSize } from "./config.ts";

/** Width of the sinusoidal time vector, and of the inner layer that embeds it. */
export const timeVectorDim = 256;
const timeHiddenDim = 1024;

/** Names in diffusers' state dict of the two modules that carry the patch size in their name. */
export const patchEmbedder: string = `all_x_embedder.${patchSize}-1`;
export const finalLayer: string = `all_final_layer.${patchSize}-1`;

/** The blocks with their names, in the order in which the modulation table has them. */
export function modulatedBlocks(config: TransformerConfig): string[] {
  return [
    ...Array.from({ length: config.refinerLayers }, (_, i) => `noise_refiner.${i}`),
    ...Array.from({ length: config.layers }, (_, i) => `layers.${i}`),
  ];
}

export function captionBlocks(config: TransformerConfig): string[] {
  return Array.from({ length: config.refinerLayers }, (_, i) => `context_refiner.${i}`);
}

/** Every tensor that the network reads, with the shape that its configuration implies. */
export function transformerWeights(config: TransformerConfig): Map<string, readonly number[]> {
  const { dim, headDim, hiddenDim, modulationDim, captionDim } = config;
  const patchDim = patchSize * patchSize * config.inChannels;
  const shapes = new Map<string, readonly number[]>();
  const linear = (name: string, outDim: number, inDim: number, bias: boolean) => {
    shapes.set(`${name}.weight`, [outDim, inDim]);
    if (bias) shapes.set(`${name}.bias`, [outDim]);
  };
  linear(patchEmbedder, dim, patchDim, true);
  linear("t_embedder.mlp.0", timeHiddenDim, timeVectorDim, true);
  linear("t_embedder.mlp.2", modulationDim, timeHiddenDim, true);
  shapes.set("cap_embedder.0.weight", [captionDim]);
  linear("cap_embedder.1", dim, captionDim, true);
  shapes.set("x_pad_token", [1, dim]);
  shapes.set("cap_pad_token", [1, dim]);
  linear(`${finalLayer}.linear`, patchDim, dim, true);
  linear(`${finalLayer}.adaLN_modulation.1`, dim, modulationDim, true);
  for (const block of [...modulatedBlocks(config), ...captionBlocks(config)]) {
    for (const part of ["to_q", "to_k", "to_v", "to_out.0"]) {
      linear(`${block}.attention.${part}`, dim, dim, false);
    }
    if (config.qkNorm) {
      shapes.set(`${block}.attention.norm_q.weight`, [headDim]);
      shapes.set(`${block}.attention.norm_k.weight`, [headDim]);
    }
    for (const norm of ["attention_norm1", "attention_norm2", "ffn_norm1", "ffn_norm2"]) {
      shapes.set(`${block}.${norm}.weight`, [dim]);
    }
    linear(`${block}.feed_forward.w1`, hiddenDim, dim, false);
    linear(`${block}.feed_forward.w2`, dim, hiddenDim, false);
    linear(`${block}.feed_forward.w3`, hiddenDim, dim, false);
  }
  for (const block of modulatedBlocks(config)) {
    linear(`${block}.adaLN_modulation.0`, 4 * dim, modulationDim, true);
  }
  return shapes;
}

/** The matrices of the blocks' attention and feed-forward: nearly all of the weights. */
export function blockMatrices(config: TransformerConfig): string[] {
  return [...transformerWeights(config)]
    .filter(([name, shape]) => shape.length === 2 && /\.(attention|feed_forward)\./.test(name))
    .map(([name]) => name);
}

/** What is before the blocks and behind them: modules, as ai-toolkit's patterns name them since 28f2c0ac. */
const embedders = /^(?:t_embedder|cap_embedder|all_x_embedder|all_final_layer)/;

/** Whether a module is one that newer trainers don't round. */
export function isEmbedder(module: string): boolean {
  return embedders.test(module);
}

/** A module that an adapter can change. */
export interface AdaptableModule {
  /** null for a norm, which has a vector of `outDim` in place of a matrix. */
  readonly inDim: number | null;
  readonly outDim: number;
  readonly hasBias: boolean;
}

/** The linear modules and the norms, by name. */
export function adaptableModules(config: TransformerConfig): Map<string, AdaptableModule> {
  const weights = transformerWeights(config);
  const modules = new Map<string, AdaptableModule>();
  for (const [name, [outDim, inDim]] of weights) {
    if (!name.endsWith(".weight") || outDim === undefined) continue;
    const module = name.slice(0, -".weight".length);
    modules.set(module, { inDim: inDim ?? null, outDim, hasBias: weights.has(`${module}.bias`) });
  }
  return modules;
}

/** Which of the three graphs holds a module. The modulation graph folds a block's norms in. */
export function graphOf(module: string): "caption" | "modulation" | "step" {
  if (/^(?:cap_embedder|context_refiner)\./.test(module)) return "caption";
  return /^t_embedder\.|\badaLN_modulation\b|\.(?:attention|ffn)_norm[12]$/.test(module)
    ? "modulation"
    : "step";
}
