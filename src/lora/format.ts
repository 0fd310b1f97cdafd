/** Other files that people have, by their keys. The first that fits is named. */
const formats: readonly (readonly [RegExp, string])[] = [
  [/lokr_w[12]/, "it is a LoKr (LyCORIS) file. Train again with the network type LoRA."],
  [/hada_w[12]/, "it is a LoHa (LyCORIS) file. Train again with the network type LoRA."],
  [
    /\.magnitude$|dora_scale|lora_magnitude_vector/,
    "it is a DoRA file. Train again with the network type LoRA.",
  ],
  [
    /^lora_unet_(double|single)_blocks|^transformer\.(single_)?transformer_blocks|(double|single)_blocks\./,
    "it was trained for FLUX. Choose one that was trained for Z-Image.",
  ],
  [
    /^lora_unet_(input|output|down|up|middle|mid)_/,
    "it was trained for Stable Diffusion. Choose one that was trained for Z-Image.",
  ],
  [
    /^lora_te|^text_encoder/,
    "it holds text encoder weights, which nothing applies. Save it again without them.",
  ],
  [/^lora_unet_/, "it is in kohya's format. Convert it to ai-toolkit's names."],
  [
    /\.lora_(A|B)\.default\./,
    'it is as PEFT saves it. Rename its keys: without ".default", with "diffusion_model." before the module.',
  ],
  [
    /^(transformer|base_model\.model)\..*lora_[AB]/,
    "it is in diffusers' or PEFT's format. Rename its keys: \"diffusion_model.\" before the module.",
  ],
  [
    /^diffusion_model\..*lora_(down|up)/,
    "its matrices are called lora_down and lora_up. Rename them to lora_A and lora_B.",
  ],
  [/\.diff(_b)?$/, "it holds full weight differences. Train again with the network type LoRA."],
  [/lora/, "its names are not those of a known LoRA format. Save it again in ai-toolkit."],
];

/** What a file is that is not an ai-toolkit LoRA, and what to do. */
export function recogniseFormat(keys: readonly string[]): string {
  for (const [pattern, sentence] of formats) {
    if (keys.some((key) => pattern.test(key))) return sentence;
  }
  return "it has no LoRA tensors; it may be a whole checkpoint. Name the LoRA that the training saved.";
}
