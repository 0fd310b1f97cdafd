/** Other files that people have, by their keys. The first that fits is named. */
const formats: readonly (readonly [RegExp, string])[] = [
  [/lokr_w[12]/, "it is a LoKr (LyCORIS) file."],
  [/hada_w[12]/, "it is a LoHa (LyCORIS) file."],
  [/\.magnitude$|dora_scale|lora_magnitude_vector/, "it is a DoRA file."],
  [
    /^lora_unet_(double|single)_blocks|^transformer\.single_transformer_blocks/,
    "it was trained for FLUX, not for Z-Image.",
  ],
  [
    /^lora_unet_(input|output|down|up|middle|mid)_/,
    "it was trained for Stable Diffusion, not for Z-Image.",
  ],
  [/^lora_te|^text_encoder/, "it holds text encoder weights, which Z-Image LoRAs don't have."],
  [/^lora_unet_/, "it is in kohya's format; convert it to ai-toolkit's or diffusers' names."],
  [/^(transformer|base_model\.model)\..*lora_[AB]/, "it is in diffusers' or PEFT's format."],
  [/\.diff(_b)?$/, "it holds full weight differences, not a LoRA."],
  [/lora/, "its names are not those of a known LoRA format."],
];

/** One sentence on what a file is that is not an ai-toolkit LoRA. */
export function recogniseFormat(keys: readonly string[]): string {
  for (const [pattern, sentence] of formats) {
    if (keys.some((key) => pattern.test(key))) return sentence;
  }
  return "it has no LoRA tensors; it may be a whole checkpoint.";
}
