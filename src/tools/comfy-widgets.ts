import type { JsonValue } from "../wire/python-json.ts";
import { isObject } from "./tool-json.ts";

/** Stands behind a seed in the editor and is no input of the node. */
const control = "control_after_generate";

/**
 * The editor keeps a node's values as a list; these are their names, in the order of ComfyUI's `INPUT_TYPES`
 * (Comfy-Org/ComfyUI a125cd84: `nodes.py`, `comfy_extras`). ManualSigmas is younger.
 */
const widgetNames: Readonly<Record<string, readonly string[]>> = {
  KSampler: ["seed", control, "steps", "cfg", "sampler_name", "scheduler", "denoise"],
  KSamplerAdvanced: [
    "add_noise",
    "noise_seed",
    control,
    "steps",
    "cfg",
    "sampler_name",
    "scheduler",
    "start_at_step",
    "end_at_step",
    "return_with_leftover_noise",
  ],
  SamplerCustom: ["add_noise", "noise_seed", control, "cfg"],
  RandomNoise: ["noise_seed", control],
  CFGGuider: ["cfg"],
  KSamplerSelect: ["sampler_name"],
  BasicScheduler: ["scheduler", "steps", "denoise"],
  ManualSigmas: ["sigmas"],
  SplitSigmas: ["step"],
  CLIPTextEncode: ["text"],
  UNETLoader: ["unet_name", "weight_dtype"],
  UnetLoaderGGUF: ["unet_name"],
  CheckpointLoaderSimple: ["ckpt_name"],
  CLIPLoader: ["clip_name", "type", "device"],
  CLIPLoaderGGUF: ["clip_name", "type"],
  VAELoader: ["vae_name"],
  LoraLoader: ["lora_name", "strength_model", "strength_clip"],
  LoraLoaderModelOnly: ["lora_name", "strength_model"],
  ModelSamplingAuraFlow: ["shift"],
  ModelSamplingSD3: ["shift"],
  EmptySD3LatentImage: ["width", "height", "batch_size"],
  EmptyLatentImage: ["width", "height", "batch_size"],
  PrimitiveInt: ["value", control],
  PrimitiveFloat: ["value"],
  PrimitiveString: ["value"],
  PrimitiveStringMultiline: ["value"],
  StringConcatenate: ["string_a", "string_b", "delimiter"],
  SaveImage: ["filename_prefix"],
};

const controls = new Set<JsonValue>(["fixed", "increment", "decrement", "randomize"]);

/**
 * The values of an editor's node by name.
 *
 * @param inputs the names of its inputs that have a widget, in order
 */
export function widgetValues(
  type: string,
  values: JsonValue | undefined,
  inputs: readonly string[],
): Record<string, JsonValue> {
  if (isObject(values)) return values;
  if (!Array.isArray(values)) return {};
  const known = Object.hasOwn(widgetNames, type) ? widgetNames[type] : undefined;
  if (known !== undefined) {
    const named = known.map((name, i) => [name, values[i]] as const);
    return Object.fromEntries(
      named.filter((entry): entry is [string, JsonValue] => {
        const [name, value] = entry;
        return name !== control && value !== undefined && value !== null;
      }),
    );
  }
  // Of other nodes the names are known where the editor lists each widget among the inputs.
  const plain = values.filter((value) => !controls.has(value));
  if (plain.length !== inputs.length) return {};
  return Object.fromEntries(inputs.map((name, i) => [name, plain[i]!]));
}
