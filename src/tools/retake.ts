import { JsonFields } from "./json-fields.ts";
import { lorasIn } from "./json-loras.ts";
import type { ToolSettings } from "./settings.ts";
import { inWords, unknownSettings } from "./settings.ts";
import { isObject, parseToolJson, plainNumber, plainText } from "./tool-json.ts";

/**
 * Retake's own JSON, in its pictures and of `--json` (`describeResult` in pipeline/parameters.ts).
 *
 * @returns undefined if the text is not Retake's
 */
export function retakeFields(text: string): JsonFields | undefined {
  if (!/^\s*\{/.test(text) || !text.includes('"retake ')) return undefined;
  const root = parseToolJson(text, "Retake's parameters");
  return isObject(root) && /^retake /.test(plainText(root.software) ?? "")
    ? new JsonFields(root)
    : undefined;
}

/** @returns undefined if the text is not Retake's */
export function readRetake(text: string): ToolSettings | undefined {
  const fields = retakeFields(text);
  if (fields === undefined) return undefined;
  const prompt = fields.text("prompt");
  const negative = fields.text("negative_prompt") ?? "";
  const guidance = fields.number("guidance_scale");
  const standardCfg = fields.number("standard_cfg");
  const steps = fields.number("num_inference_steps");
  const seed = fields.integer("seed");
  const width = fields.number("width");
  const height = fields.number("height");
  const sigmas = fields.list("sigmas").map(plainNumber);
  const schedule = fields.text("schedule");
  const profile = fields.text("profile");
  const loras = lorasIn(fields, "loras", (lora) => ({
    name: lora.text("name") ?? lora.text("sha256"),
    strength: lora.number("network_multiplier"),
  }));
  const model = fields.text("model");
  return {
    ...unknownSettings("retake"),
    version: fields.text("software"),
    prompt,
    negative: { kind: "text", text: negative },
    standardCfg,
    cfgOwn: guidance === null ? null : { name: "guidance_scale", value: guidance },
    steps,
    sampler: "euler",
    scheduler: schedule,
    shift: 3,
    givenSigmas: sigmas.length > 1 && sigmas.every(Number.isFinite) ? sigmas : null,
    seed,
    noise: "cpu",
    denoise: 1,
    width,
    height,
    loras,
    model,
    own: inWords({
      prompt: ["prompt", prompt],
      negative: ["negative_prompt", negative],
      guidance: ["guidance_scale", guidance],
      steps: ["num_inference_steps", steps],
      scheduler: ["profile", profile],
      seed: ["seed", seed],
      size: ["width, height", width === null ? null : `${width}, ${height}`],
      loras: ["loras", loras.map((l) => `${l.name}, ${l.strength}`).join("; ")],
      model: ["model", model],
    }),
    others: fields.others(),
    unread: fields.unread,
  };
}
