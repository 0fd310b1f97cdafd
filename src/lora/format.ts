import type { LoraModule } from "./module.ts";
import type { LoraKey } from "./names.ts";
import { isOriginalName } from "./names.ts";

/** Files of other models and kinds that people have, by their keys. The first that fits is named. */
const foreign: readonly (readonly [RegExp, string])[] = [
  [
    /^lora_unet_(double|single)_blocks|^transformer\.(single_)?transformer_blocks|(double|single)_blocks\.|single_transformer_blocks/,
    "it was trained for FLUX. Choose one that was trained for Z-Image.",
  ],
  [
    /^lora_unet_(input|output|down|up|middle|mid)_|^(unet\.)?(down_blocks|up_blocks|mid_block)\./,
    "it was trained for Stable Diffusion. Choose one that was trained for Z-Image.",
  ],
  [
    /transformer_blocks[._]\d+[._](attn|img_mlp|img_mod|ff)/,
    "it was trained for another model (Qwen-Image or one like it). Choose one that was trained for Z-Image.",
  ],
  [
    /(^|\.)blocks[._]\d+[._](self_attn|cross_attn|ffn)/,
    "it was trained for another model (Wan or one like it). Choose one that was trained for Z-Image.",
  ],
  [
    /^lora_te|^text_encoder|^conditioner\.|^cond_stage_model\.|lora_qwen3|\.self_attn\.[qkvo]_proj\./,
    "it holds text encoder weights, which nothing applies. Save it again without them.",
  ],
  [
    /\.(lora_mid\.weight|lokr_t2|hada_t[12])$/,
    "it holds factors of convolutions, and Z-Image has none. Choose one that was trained for Z-Image.",
  ],
  [/\.(weight_scale|scale_weight)$/, "it holds scaled 8 bit values. Save it again in bf16."],
];

/**
 * What a file is that is not a whole LoRA for Z-Image, and what to do.
 *
 * @param unmatched its keys that match nothing
 * @param matched how many others do
 */
export function recogniseForeign(unmatched: readonly string[], matched: number): string {
  for (const [pattern, sentence] of foreign) {
    if (unmatched.some((key) => pattern.test(key))) return sentence;
  }
  if (matched === 0 && unmatched.some((key) => /lora|lokr|hada|\.diff/.test(key))) {
    return "its names are not those of a LoRA for Z-Image.";
  }
  if (matched > 0) return "it has keys that no LoRA for Z-Image has. Save it again in the trainer.";
  return "it has no LoRA tensors; it may be a whole checkpoint. Name the LoRA that the training saved.";
}

/** What wrote the names of a file's keys, as people call it. */
export type LoraFormat =
  | "ai-toolkit"
  | "ComfyUI"
  | "diffusers"
  | "PEFT"
  | "kohya"
  | "LyCORIS"
  | "DiffSynth"
  | "plain";

export function formatOf(keys: readonly LoraKey[]): LoraFormat {
  const prefixes = new Set(keys.map(({ prefix }) => prefix));
  const has = (...names: string[]) => names.some((name) => prefixes.has(name));
  if (has("diffusion_model.", "model.diffusion_model.")) {
    return keys.some(({ module }) => isOriginalName(module)) ? "ComfyUI" : "ai-toolkit";
  }
  if (has("base_model.model.", "base_model.model.transformer.")) return "PEFT";
  if (has("transformer.")) return "diffusers";
  if ([...prefixes].some((prefix) => prefix.startsWith("lycoris_"))) return "LyCORIS";
  if ([...prefixes].some((prefix) => prefix.startsWith("lora_"))) return "kohya";
  return has("pipe.dit.") || keys.some(({ named }) => named) ? "DiffSynth" : "plain";
}

/** What kind of network a file holds, as trainers call it. */
export function networkOf(modules: Iterable<LoraModule>): string {
  const names = { lora: "LoRA", lokr: "LoKr", loha: "LoHa", full: "full weights" } as const;
  const kinds = new Set<string>();
  for (const { delta, inDim, biasDelta, magnitude } of modules) {
    if (biasDelta !== null) kinds.add("biases");
    if (delta === null) continue;
    const name = delta.kind === "full" && inDim === null ? "norms" : names[delta.kind];
    kinds.add(magnitude === null ? name : name === "LoRA" ? "DoRA" : `${name} with DoRA`);
  }
  return [...kinds].toSorted().join(", ");
}
