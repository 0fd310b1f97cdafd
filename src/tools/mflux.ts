import { JsonFields } from "./json-fields.ts";
import { lorasInLists } from "./json-loras.ts";
import type { ToolSettings } from "./settings.ts";
import { inWords, unknownSettings } from "./settings.ts";
import { isObject, parseToolJson } from "./tool-json.ts";

/**
 * mflux's JSON in a UserComment (filipstrand/mflux 97ac5e62: `utils/generated_image.py`, `z_image/variants/z_image.py`,
 * `common/schedulers/`). Its guidance is diffusers' w; the schedule is not written and follows from the model.
 *
 * @returns undefined if the text is not mflux's
 */
export function readMflux(text: string): ToolSettings | undefined {
  if (!/^\s*\{/.test(text) || !text.includes('"mflux_version"')) return undefined;
  const root = parseToolJson(text, "mflux's parameters");
  if (!isObject(root)) return undefined;
  const fields = new JsonFields(root);
  const prompt = fields.text("prompt");
  const negative = fields.text("negative_prompt");
  const guidance = fields.number("guidance");
  const steps = fields.number("steps");
  const seed = fields.integer("seed");
  const width = fields.number("width");
  const height = fields.number("height");
  const model = fields.text("model");
  const loras = lorasInLists(fields, "lora_paths", "lora_scales").map(({ name, strength }) => ({
    name: name.split(/[\\/]/).at(-1)!,
    strength,
  }));
  const quantize = fields.number("quantize");
  const notes: string[] = [];
  if (quantize !== null) notes.push(`The weights are rounded to ${quantize} bits.`);
  if (fields.value("image_path") !== undefined || fields.value("image_strength") !== undefined)
    notes.push("The picture was drawn over another one (image_path).");
  // A model that can't be guided, as Turbo, has no number; for the others 1 and less is off.
  const w = guidance === null || guidance <= 1 ? 0 : guidance;
  const isBlank = negative === null || negative.trim() === "";
  return {
    ...unknownSettings("mflux"),
    version: fields.text("mflux_version"),
    prompt,
    negative: isBlank ? { kind: "space" } : { kind: "text", text: negative },
    standardCfg: w + 1,
    cfgOwn: guidance === null ? null : { name: "guidance", value: guidance },
    steps,
    sampler: "euler",
    scheduler: guidance === null ? "linear" : "flow_match_euler_discrete",
    shift: guidance === null ? "auto" : Math.E,
    seed,
    noise: "mlx",
    width,
    height,
    loras,
    model,
    own: inWords({
      prompt: ["prompt", prompt],
      negative: ["negative_prompt", isBlank ? "none, so one space" : negative],
      scheduler: ["scheduler", "not written; the model's default"],
      guidance: ["guidance", guidance ?? "none"],
      steps: ["steps", steps],
      seed: ["seed", seed],
      noise: ["seed", "MLX's own generator"],
      size: ["width, height", width === null ? null : `${width}, ${height}`],
      loras: ["lora_paths, lora_scales", loras.map((l) => `${l.name}, ${l.strength}`).join("; ")],
      model: ["model", model],
    }),
    notes,
    others: fields.others(),
    unread: fields.unread,
  };
}
