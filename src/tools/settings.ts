/** Programs whose pictures are read. */
export type ToolName =
  | "retake"
  | "comfyui"
  | "swarmui"
  | "a1111"
  | "forge"
  | "forge-neo"
  | "sdnext"
  | "sd.cpp"
  | "invokeai"
  | "draw-things"
  | "mflux";

/**
 * Where a tool draws its noise. `cpu`: torch's CPU generator in float32, as the trainer; `bf16-cpu`: the same
 * numbers rounded to bf16; `cuda-philox`: torch on a CUDA device; `nv-philox`: the same generator in software;
 * `mlx`: Apple's MLX.
 */
export type NoiseSource = "cpu" | "bf16-cpu" | "cuda-philox" | "nv-philox" | "mlx" | "unknown";

/** `zeros`: hidden states of zero instead of an encoded text; `space`: the text is one space. */
export type Negative =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "zeros" }
  | { readonly kind: "space" };

export interface ToolLora {
  /** As the tool names the file. */
  readonly name: string;
  readonly strength: number;
}

/** What a setting is, whatever a tool calls it. */
export type SettingName =
  | "prompt"
  | "negative"
  | "guidance"
  | "steps"
  | "sampler"
  | "scheduler"
  | "shift"
  | "seed"
  | "noise"
  | "denoise"
  | "size"
  | "loras"
  | "model"
  | "vae"
  | "textEncoder";

/** A setting in the tool's own words. */
export interface OwnWords {
  readonly name: string;
  readonly value: string;
}

/**
 * What a tool wrote about a picture, in the field's terms. null: the tool didn't say, or it could not be
 * read; then `unread` says so.
 */
export interface ToolSettings {
  readonly tool: ToolName;
  /** As the tool states its version. */
  readonly version: string | null;
  /** Tags for LoRAs are taken out. */
  readonly prompt: string | null;
  readonly negative: Negative | null;
  /** The s of `neg + s·(pos - neg)`; 1: no guidance. */
  readonly standardCfg: number | null;
  /** The same as the tool counts it. */
  readonly cfgOwn: { readonly name: string; readonly value: number } | null;
  /** As the tool counts them. */
  readonly steps: number | null;
  /** The tool's name. */
  readonly sampler: string | null;
  /** The tool's name. */
  readonly scheduler: string | null;
  /** `auto`: the tool computes it from the size. */
  readonly shift: number | "auto" | null;
  /** A part of the schedule is run: indexes of the list of sigmas. */
  readonly window: { readonly from: number; readonly to: number } | null;
  /** The list of noise levels, where the tool names each. */
  readonly givenSigmas: readonly number[] | null;
  readonly seed: bigint | null;
  readonly noise: NoiseSource;
  /** Below 1 the schedule starts late. */
  readonly denoise: number | null;
  /** Of the latents, in pixels. */
  readonly width: number | null;
  readonly height: number | null;
  readonly loras: readonly ToolLora[];
  readonly model: string | null;
  readonly vae: string | null;
  readonly textEncoder: string | null;
  /** The same in the tool's words. */
  readonly own: Readonly<Partial<Record<SettingName, OwnWords>>>;
  /** What is known to change the picture and is no setting above, each a sentence. */
  readonly notes: readonly string[];
  /** What the tool wrote and is understood here as none of the settings. */
  readonly others: readonly OwnWords[];
  /** What could not be read, each a sentence. */
  readonly unread: readonly string[];
}

/** Nothing known yet. */
export function unknownSettings(tool: ToolName): ToolSettings {
  return {
    tool,
    version: null,
    prompt: null,
    negative: null,
    standardCfg: null,
    cfgOwn: null,
    steps: null,
    sampler: null,
    scheduler: null,
    shift: null,
    window: null,
    givenSigmas: null,
    seed: null,
    noise: "unknown",
    denoise: null,
    width: null,
    height: null,
    loras: [],
    model: null,
    vae: null,
    textEncoder: null,
    own: {},
    notes: [],
    others: [],
    unread: [],
  };
}

/** Leaves out what is not known. */
export function inWords(
  words: Readonly<Partial<Record<SettingName, readonly [string, string | number | bigint | null]>>>,
): Partial<Record<SettingName, OwnWords>> {
  const entries = Object.entries(words).flatMap(([setting, [name, value]]) =>
    value === null ? [] : [[setting, { name, value: String(value) }] as const],
  );
  return Object.fromEntries(entries);
}
