/** What a tensor of a LoRA file is to its module. */
export type PartName =
  | "lora_A"
  | "lora_B"
  | "lora_B.bias"
  | "alpha"
  | "magnitude"
  | "lora_magnitude_vector"
  | "dora_scale"
  | "lokr_w1"
  | "lokr_w1_a"
  | "lokr_w1_b"
  | "lokr_w2"
  | "lokr_w2_a"
  | "lokr_w2_b"
  | "hada_w1_a"
  | "hada_w1_b"
  | "hada_w2_a"
  | "hada_w2_b"
  | "diff"
  | "diff_b";

export interface LoraKey {
  /** What stands before the module's name, `` or e.g. `diffusion_model.`. */
  readonly prefix: string;
  /** As the file has it. */
  readonly module: string;
  readonly part: PartName;
  /** PEFT's name of the adapter, `.default`, is in the key. */
  readonly named: boolean;
}

/** Prefixes of dotted names: ai-toolkit and ComfyUI, diffusers, PEFT, DiffSynth. */
const dottedPrefix =
  /^(?:(?:model\.)?diffusion_model\.|base_model\.model\.(?:transformer\.)?|transformer\.|pipe\.dit\.|dit\.)/;

/** Prefixes of names with underscores: kohya and musubi, LyCORIS, ai-toolkit before its PEFT names. */
const flatPrefix = /^(?:lora_unet_|lora_transformer_|lora_dit_|lycoris_(?:unet_|transformer_)?)/;

const endings: readonly (readonly [RegExp, PartName | undefined])[] = [
  [/\.(?:lora_A|lora_down|lora\.down)(?<named>\.default)?\.weight$/, "lora_A"],
  [/\.(?:lora_B|lora_up|lora\.up)(?<named>\.default)?\.weight$/, "lora_B"],
  [/\.(?:lora_B|lora_up)(?<named>\.default)?\.bias$/, "lora_B.bias"],
  [/\.alpha$/, "alpha"],
  [/\.magnitude$/, "magnitude"],
  [/\.lora_magnitude_vector(?<named>\.default)?(?:\.weight)?$/, "lora_magnitude_vector"],
  [/\.dora_scale$/, "dora_scale"],
  // The second is LyCORIS's name of a norm's.
  [/\.(?:diff|w_norm)$/, "diff"],
  [/\.(?:diff_b|b_norm)$/, "diff_b"],
  [/\.(?<part>lokr_w[12](?:_[ab])?|hada_w[12]_[ab])(?<named>\.default)?$/, undefined],
];

/** Takes a tensor's name apart; undefined if it is no LoRA's. */
export function parseKey(key: string): LoraKey | undefined {
  for (const [pattern, part] of endings) {
    const match = pattern.exec(key);
    if (match === null) continue;
    const path = key.slice(0, match.index);
    const prefix = (dottedPrefix.exec(path) ?? flatPrefix.exec(path))?.[0] ?? "";
    return {
      prefix,
      module: path.slice(prefix.length),
      // The pattern without a part of its own names one of ours.
      part: part ?? (match.groups?.part as PartName),
      named: match.groups?.named !== undefined,
    };
  }
  return undefined;
}

/** Linear modules and norms of a block, by their names in the diffusers and the original layout. */
const blockParts = new Map([
  ["attention_to_q", "attention.to_q"],
  ["attention_to_k", "attention.to_k"],
  ["attention_to_v", "attention.to_v"],
  ["attention_to_out_0", "attention.to_out.0"],
  ["attention_out", "attention.to_out.0"],
  ["attention_qkv", "attention.qkv"],
  ["feed_forward_w1", "feed_forward.w1"],
  ["feed_forward_w2", "feed_forward.w2"],
  ["feed_forward_w3", "feed_forward.w3"],
  ["adaLN_modulation_0", "adaLN_modulation.0"],
  ["attention_norm_q", "attention.norm_q"],
  ["attention_q_norm", "attention.norm_q"],
  ["attention_norm_k", "attention.norm_k"],
  ["attention_k_norm", "attention.norm_k"],
  ["attention_norm1", "attention_norm1"],
  ["attention_norm2", "attention_norm2"],
  ["ffn_norm1", "ffn_norm1"],
  ["ffn_norm2", "ffn_norm2"],
]);

/** The modules outside of blocks. */
const otherModules = new Map([
  ["all_x_embedder_2-1", "all_x_embedder.2-1"],
  ["x_embedder", "all_x_embedder.2-1"],
  ["all_final_layer_2-1_linear", "all_final_layer.2-1.linear"],
  ["final_layer_linear", "all_final_layer.2-1.linear"],
  ["all_final_layer_2-1_adaLN_modulation_1", "all_final_layer.2-1.adaLN_modulation.1"],
  ["final_layer_adaLN_modulation_1", "all_final_layer.2-1.adaLN_modulation.1"],
  ["t_embedder_mlp_0", "t_embedder.mlp.0"],
  ["t_embedder_mlp_2", "t_embedder.mlp.2"],
  ["cap_embedder_0", "cap_embedder.0"],
  ["cap_embedder_1", "cap_embedder.1"],
]);

const blockPattern =
  /^(?<stack>layers|noise_refiner|context_refiner)_(?<index>\d{1,3})_(?<part>.+)$/;

/** The end of a fused module's name: q, k and v in one matrix, as the original layout has them. */
export const fusedQkv = "attention.qkv";

/** What fused q, k and v are called apart, in the order of their rows. */
export const qkvParts = ["attention.to_q", "attention.to_k", "attention.to_v"] as const;

/**
 * The diffusers name of a Z-Image module from the name that a LoRA gives it:
 * dotted or, as kohya and LyCORIS write it, with every dot an underscore.
 * Sources: diffusers 0.42.1 `transformer_z_image.py`; Tongyi-MAI/Z-Image for the original names.
 *
 * @returns undefined for a name that no Z-Image model has; a fused one ends in `attention.qkv`
 */
export function canonicalModule(name: string): string | undefined {
  const flat = name.replaceAll(".", "_");
  const other = otherModules.get(flat);
  if (other !== undefined) return other;
  const { stack, index, part } = blockPattern.exec(flat)?.groups ?? {};
  const known = part === undefined ? undefined : blockParts.get(part);
  return known === undefined ? undefined : `${stack}.${Number(index)}.${known}`;
}

/** Whether a module is named as the original layout has it, not diffusers. */
export function isOriginalName(name: string): boolean {
  return /attention[._](?:qkv|out|[qk]_norm)$|^x_embedder$|^final_layer[._]/.test(name);
}

/** Every module of the real model, to find the one that a misspelt name may mean. */
export function knownModules(): string[] {
  const stacks = { layers: 30, noise_refiner: 2, context_refiner: 2 };
  const blocks = Object.entries(stacks).flatMap(([stack, count]) =>
    Array.from({ length: count }, (_, i) => `${stack}.${i}`),
  );
  const parts = [...new Set(blockParts.values())];
  return [
    ...blocks.flatMap((block) => parts.map((part) => `${block}.${part}`)),
    ...new Set(otherModules.values()),
  ];
}
