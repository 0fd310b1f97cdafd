import { JsonFields } from "./json-fields.ts";
import { lorasIn } from "./json-loras.ts";
import type { ToolSettings } from "./settings.ts";
import { inWords, unknownSettings } from "./settings.ts";
import { isObject, parseToolJson } from "./tool-json.ts";

/**
 * InvokeAI's `invokeai_metadata` (invoke-ai/InvokeAI 8e71a8a5: `buildZImageGraph.ts`, `z_image_denoise.py`). Its
 * cfg is the standard one; its `scheduler` is what others call sampler; its noise levels are linear ones, shifted.
 */
export function readInvoke(text: string): ToolSettings {
  const root = parseToolJson(text, "InvokeAI's metadata");
  const fields = new JsonFields(isObject(root) ? root : {});
  const prompt = fields.text("positive_prompt");
  const negative = fields.text("negative_prompt") ?? "";
  const cfg = fields.number("cfg_scale");
  const steps = fields.number("steps");
  const sampler = fields.text("scheduler");
  const seed = fields.integer("seed");
  const width = fields.number("width");
  const height = fields.number("height");
  const isAuto = fields.value("z_image_shift") === "auto";
  const shift = isAuto ? "auto" : (fields.number("z_image_shift") ?? "auto");
  const loras = lorasIn(fields, "loras", (lora) => ({
    name: lora.nested("model")?.text("name") ?? lora.nested("lora")?.text("name"),
    strength: lora.number("weight"),
  }));
  const nameOf = (key: string) => fields.nested(key)?.text("name") ?? null;
  const model = nameOf("model");
  const vae = nameOf("vae");
  const textEncoder = nameOf("qwen3_encoder");
  const notes = ["Latents are rounded to bf16 after each step."];
  if (fields.value("z_image_seed_variance_enabled") === true) {
    notes.push("The seed variance enhancer changed the prompt's embeddings.");
  }
  const mode = fields.text("generation_mode");
  if (mode !== null && mode !== "z_image_txt2img")
    notes.push(`The picture was drawn over another one (${mode}).`);
  return {
    ...unknownSettings("invokeai"),
    version: fields.text("app_version"),
    prompt,
    negative: { kind: "text", text: negative },
    standardCfg: cfg,
    cfgOwn: cfg === null ? null : { name: "cfg_scale", value: cfg },
    steps,
    sampler,
    shift,
    seed,
    noise: "bf16-cpu",
    width,
    height,
    loras,
    model,
    vae,
    textEncoder,
    own: inWords({
      prompt: ["positive_prompt", prompt],
      negative: ["negative_prompt", negative],
      guidance: ["cfg_scale", cfg],
      steps: ["steps", steps],
      sampler: ["scheduler", sampler],
      shift: ["z_image_shift", shift],
      seed: ["seed", seed],
      size: ["width, height", width === null ? null : `${width}, ${height}`],
      loras: ["loras", loras.map((l) => `${l.name}, ${l.strength}`).join("; ")],
      model: ["model", model],
      vae: ["vae", vae],
      textEncoder: ["qwen3_encoder", textEncoder],
    }),
    notes,
    others: fields.others(),
    unread: fields.unread,
  };
}
