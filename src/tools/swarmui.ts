import { JsonFields } from "./json-fields.ts";
import { lorasInLists } from "./json-loras.ts";
import type { ToolSettings } from "./settings.ts";
import { inWords, unknownSettings } from "./settings.ts";
import { isObject, parseToolJson } from "./tool-json.ts";

/**
 * SwarmUI's JSON: it runs ComfyUI, with Euler and `simple` where nothing else is chosen (mcmonkeyprojects/SwarmUI
 * 062407c7: `docs/Image Metadata Format.md`, `WorkflowGenerator.cs`, `SwarmKSampler.py`).
 *
 * @returns undefined if the text is not SwarmUI's
 */
export function readSwarm(text: string): ToolSettings | undefined {
  if (!/^\s*\{/.test(text) || !text.includes('"sui_image_params"')) return undefined;
  const root = parseToolJson(text, "SwarmUI's parameters");
  if (!isObject(root) || !isObject(root.sui_image_params)) return undefined;
  const fields = new JsonFields(root.sui_image_params);
  const prompt = fields.text("prompt");
  const negative = fields.text("negativeprompt") ?? "";
  const cfg = fields.number("cfgscale");
  const steps = fields.number("steps");
  const seed = fields.integer("seed");
  const width = fields.number("width");
  const height = fields.number("height");
  const sampler = fields.text("sampler") ?? "euler";
  const scheduler = fields.text("scheduler") ?? "simple";
  const shift = fields.number("sigmashift");
  const loras = lorasInLists(fields, "loras", "loraweights");
  const model = fields.text("model");
  const vae = fields.text("vae");
  const textEncoder = fields.text("qwenmodel");
  const creativity = fields.number("initimagecreativity");
  const notes: string[] = [];
  if ((fields.number("variationseedstrength") ?? 0) !== 0)
    notes.push("A second seed was mixed into the noise (variation seed).");
  if (fields.value("initimage") !== undefined || creativity !== null)
    notes.push("The picture was drawn over another one (init image).");
  if (fields.value("refinermethod") !== undefined || fields.value("refinerupscale") !== undefined)
    notes.push("The picture was refined or enlarged after it was drawn.");
  return {
    ...unknownSettings("swarmui"),
    version: fields.text("swarm_version"),
    prompt,
    negative: { kind: "text", text: negative },
    standardCfg: cfg,
    cfgOwn: cfg === null ? null : { name: "cfgscale", value: cfg },
    steps,
    sampler,
    scheduler,
    shift: shift ?? 3,
    seed,
    noise: "cpu",
    denoise: creativity,
    width,
    height,
    loras,
    model,
    vae,
    textEncoder,
    own: inWords({
      prompt: ["prompt", prompt],
      negative: ["negativeprompt", negative],
      guidance: ["cfgscale", cfg],
      steps: ["steps", steps],
      sampler: ["sampler", sampler],
      scheduler: ["scheduler", scheduler],
      shift: ["sigmashift", shift ?? "not written, so the model's own, 3"],
      seed: ["seed", seed],
      denoise: ["initimagecreativity", creativity],
      size: ["width, height", width === null ? null : `${width}, ${height}`],
      loras: ["loras, loraweights", loras.map((l) => `${l.name}, ${l.strength}`).join("; ")],
      model: ["model", model],
      vae: ["vae", vae],
      textEncoder: ["qwenmodel", textEncoder],
    }),
    notes,
    others: fields.others(),
    unread: fields.unread,
  };
}
