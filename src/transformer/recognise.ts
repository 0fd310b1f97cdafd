/** Keys that only a kind of file has; the first that fits names it. */
const kinds: readonly (readonly [RegExp, string])[] = [
  [
    /\.(lora_(A|B|up|down|magnitude_vector)\b|lokr_w|hada_w|dora_scale)|^lora_unet_/,
    "a LoRA file: name it with --lora",
  ],
  [/^layers\.0\.adaLN_modulation\.1\./, "a Lumina Image 2.0 transformer"],
  [
    /double_blocks\.0\.img_attn|^transformer_blocks\.0\.attn\.norm_added_k|single_transformer_blocks\.0\./,
    "a FLUX transformer",
  ],
  [/^transformer_blocks\.0\.img_mod\./, "a Qwen-Image transformer"],
  [/joint_blocks\.0\./, "a Stable Diffusion 3 transformer"],
  [/^blocks\.0\.(self_attn|cross_attn)\./, "a Wan transformer"],
  [
    /(^|\.)(input_blocks|down_blocks)\.0\.|^conditioner\.embedders\./,
    "a Stable Diffusion checkpoint (SD 1, SD 2 or SDXL)",
  ],
  [
    /(^|\.)layers\.0\.self_attn\.q_proj\.|^blk\.0\.attn_q\./,
    "a language model, such as a text encoder",
  ],
  [/^(encoder|decoder)\.(conv_in|mid|mid_block|up|up_blocks)\./, "a VAE"],
];

/** What a file is that is no Z-Image transformer, as far as its tensors' names tell. */
export function recogniseOther(names: readonly string[]): string | undefined {
  return kinds.find(([key]) => names.some((name) => key.test(name)))?.[1];
}
