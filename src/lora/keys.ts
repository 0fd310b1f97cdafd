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
  | "hada_w2_b";

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
