import { JsonFields } from "./json-fields.ts";
import { lorasIn } from "./json-loras.ts";
import type { NoiseSource, ToolSettings } from "./settings.ts";
import { inWords, unknownSettings } from "./settings.ts";
import { isObject, parseToolJson } from "./tool-json.ts";

const noiseOf: ReadonlyMap<string, NoiseSource> = new Map([
  ["Torch CPU Compatible", "cpu"],
  ["NVIDIA GPU Compatible", "nv-philox"],
]);

/**
 * The JSON that Draw Things writes as a PNG's comment, which macOS also puts into XMP
 * (drawthingsai/draw-things-community bfafc68c: `ImageConverter.swift`).
 *
 * @returns undefined if the text is not Draw Things'
 */
export function readDrawThings(text: string): ToolSettings | undefined {
  if (!/^\s*\{/.test(text) || !text.includes('"seed_mode"')) return undefined;
  const root = parseToolJson(text, "Draw Things' parameters");
  if (!isObject(root) || !Object.hasOwn(root, "c")) return undefined;
  const fields = new JsonFields(root);
  const v2 = fields.nested("v2");
  const prompt = fields.text("c");
  const negative = fields.text("uc") ?? "";
  const cfg = fields.number("scale");
  const steps = fields.number("steps");
  const sampler = fields.text("sampler");
  const seed = fields.integer("seed");
  const mode = fields.text("seed_mode");
  const size = /^(\d{1,6})x(\d{1,6})$/.exec(fields.text("size") ?? "");
  const isAuto = v2?.value("resolutionDependentShift") === true;
  const written = fields.number("shift");
  const shift = isAuto ? "auto" : (written ?? 1);
  const strength = fields.number("strength");
  const model = fields.text("model");
  const loras = lorasIn(fields, "lora", (lora) => ({
    name: lora.text("model"),
    strength: lora.number("weight"),
  }));
  const notes = ["On Apple's devices the noise and the weights are rounded to float16."];
  if (v2?.value("cfgZeroStar") === true)
    notes.push("CFG-Zero* scales the negative prompt's part and skips the first steps.");
  if (fields.value("upscaler") !== undefined)
    notes.push("The picture was enlarged by an upscaler.");
  if (fields.value("hires_fix") === true) notes.push("The picture was drawn twice (hires fix).");
  return {
    ...unknownSettings("draw-things"),
    prompt,
    negative: { kind: "text", text: negative },
    standardCfg: cfg,
    cfgOwn: cfg === null ? null : { name: "scale", value: cfg },
    steps,
    sampler,
    shift,
    seed,
    noise: noiseOf.get(mode ?? "") ?? "unknown",
    denoise: strength,
    width: size === null ? null : Number(size[1]),
    height: size === null ? null : Number(size[2]),
    loras,
    model,
    own: inWords({
      prompt: ["c", prompt],
      negative: ["uc", negative],
      guidance: ["scale", cfg],
      steps: ["steps", steps],
      sampler: ["sampler", sampler],
      shift: isAuto
        ? ["resolutionDependentShift", "true"]
        : ["shift", written ?? "not written, so 1"],
      seed: ["seed", seed],
      noise: ["seed_mode", mode],
      denoise: ["strength", strength],
      size: ["size", size === null ? null : size[0]],
      loras: ["lora", loras.map((l) => `${l.name}, ${l.strength}`).join("; ")],
      model: ["model", model],
    }),
    notes,
    others: fields.others(),
    unread: fields.unread,
  };
}
