import { idOfName, isFamilyName } from "../models/id-of-name.ts";
import type { Infotext } from "./infotext.ts";
import { takeLoraTags } from "./infotext.ts";
import { JsonFields } from "./json-fields.ts";
import { lorasIn } from "./json-loras.ts";
import type { NoiseSource, ToolLora, ToolName, ToolSettings } from "./settings.ts";
import { inWords, unknownSettings } from "./settings.ts";
import { isObject, parseToolJson } from "./tool-json.ts";

/**
 * What an infotext says. It is read as AUTOMATIC1111, Forge, Forge Neo, SD.Next or stable-diffusion.cpp means
 * it: their words are the same, the numbers are not.
 */
export function readInfotext(infotext: Infotext): ToolSettings {
  const tool = toolOf(infotext);
  const { parameters } = infotext;
  const used = new Set<string>();
  const text = (key: string): string | null => {
    const value = parameters.get(key);
    if (value !== undefined) used.add(key);
    return value ?? null;
  };
  const unread: string[] = [];
  const number = (key: string): number | null => {
    const value = text(key);
    if (value === null) return null;
    if (value !== "" && Number.isFinite(Number(value))) return Number(value);
    unread.push(`"${key}" is no number: ${value}.`);
    return null;
  };
  const matching = (key: string, pattern: RegExp): RegExpExecArray | null => {
    const value = text(key);
    const found = value === null ? null : pattern.exec(value);
    if (value !== null && found === null) unread.push(`"${key}" can't be read: ${value}.`);
    return found;
  };
  const { prompt, loras } = takeLoraTags(infotext.prompt);
  const size = matching("Size", /^(\d{1,6})x(\d{1,6})$/);
  const seed = matching("Seed", /^\d{1,20}$/)?.[0] ?? null;
  const cfg = number("CFG scale");
  const steps = number("Steps");
  const { sampler, scheduler } = samplerOf(
    tool,
    text("Sampler"),
    text("Schedule type") ?? text("Scheduler"),
  );
  // Of a picture that was enlarged, it is the second pass's.
  const denoise = isEnlarged(infotext) ? null : number("Denoising strength");
  const rng = text("RNG");
  const model = text("Unet") || text("Model") || null;
  const version = text("Version");
  const vae = text("VAE") ?? moduleOf(parameters, used, /vae|ae\b/i);
  const textEncoder = text("TE") ?? moduleOf(parameters, used, /./);
  const custom = matching("Custom Sigmas", /^\[(-?[\d.]+(?:, ?-?[\d.]+)+)\]$/)?.[1]?.split(",");
  used.add("App");
  const json = sdcppJson(text("SDCPP"));
  const written = number("Shift") ?? number("Sampler shift") ?? json.shift;
  const shift = shiftOf(tool, written, { sampler, model });
  unread.push(...json.unread, ...namedOnly(text("LoRA networks"), loras));
  const settings: ToolSettings = {
    ...unknownSettings(tool),
    version,
    prompt,
    negative: { kind: "text", text: infotext.negative },
    standardCfg: cfg === null ? null : tool === "sdnext" ? cfg + 1 : cfg,
    cfgOwn: cfg === null ? null : { name: "CFG scale", value: cfg },
    steps,
    sampler,
    scheduler,
    shift,
    givenSigmas: custom?.map(Number) ?? null,
    seed: seed === null ? null : BigInt(seed),
    noise: noiseOf(tool, rng),
    denoise,
    width: size === null ? null : Number(size[1]),
    height: size === null ? null : Number(size[2]),
    loras: json.loras ?? loras,
    model,
    vae,
    textEncoder,
    own: inWords({
      prompt: ["prompt", infotext.prompt],
      negative: ["Negative prompt", infotext.negative],
      guidance: ["CFG scale", cfg],
      steps: ["Steps", steps],
      sampler: ["Sampler", parameters.get("Sampler") ?? null],
      scheduler: [schedulerWord[tool] ?? "Schedule type", scheduler],
      shift: [tool === "sdnext" ? "Sampler shift" : "Shift", shift],
      seed: ["Seed", seed],
      noise: ["RNG", rng ?? (tool === "sdnext" ? null : "not written, so GPU")],
      denoise: ["Denoising strength", denoise],
      size: ["Size", parameters.get("Size") ?? null],
      loras: ["<lora:name:strength>", loras.map((l) => `<lora:${l.name}:${l.strength}>`).join(" ")],
      model: ["Model", model],
      vae: ["VAE", vae],
      textEncoder: ["TE", textEncoder],
    }),
    notes: notesOf(tool, infotext, prompt),
    unread,
  };
  const others = [...parameters]
    .filter(([key]) => !used.has(key))
    .map(([name, value]) => ({ name, value }));
  return { ...settings, others };
}

/** Where the others write a "Schedule type". */
const schedulerWord: Partial<Record<ToolName, string>> = {
  "sd.cpp": "Sampler",
  sdnext: "Scheduler",
};

function toolOf({ parameters }: Infotext): ToolName {
  const version = parameters.get("Version") ?? "";
  if (version.includes("stable-diffusion.cpp")) return "sd.cpp";
  if (parameters.get("App") === "SD.Next") return "sdnext";
  if (/neo/i.test(version) || parameters.has("Shift")) return "forge-neo";
  const isForge = /^f\d/.test(version) || parameters.has("Module 1");
  return isForge ? "forge" : "a1111";
}

/** stable-diffusion.cpp joins the two names; the others write the second apart. */
function samplerOf(
  tool: ToolName,
  sampler: string | null,
  schedule: string | null,
): { sampler: string | null; scheduler: string | null } {
  if (tool === "sd.cpp" && sampler !== null) {
    const [method = null, scheduler = null] = sampler.split(" ");
    return { sampler: method, scheduler };
  }
  if (tool === "sdnext") return { sampler: sampler ?? "Default", scheduler: schedule };
  return { sampler, scheduler: schedule };
}

/**
 * Z-Image's own, where a tool writes a shift only if it is another. SD.Next's `Default` sampler keeps the
 * repository's, which is 6 for the base model (sdnext 058a7f0c: `sd_samplers_diffusers.py`).
 */
function shiftOf(
  tool: ToolName,
  written: number | null,
  { sampler, model }: { readonly sampler: string | null; readonly model: string | null },
): number | null {
  if (written !== null) return written;
  if (tool === "sd.cpp") return 3;
  if (tool !== "sdnext") return null;
  const isBase = model !== null && isFamilyName(model) && idOfName(model) === "zimage";
  return sampler === "Default" && isBase ? 6 : 3;
}

function noiseOf(tool: ToolName, rng: string | null): NoiseSource {
  if (tool === "sdnext") return "unknown";
  const name = rng?.toLowerCase() ?? "gpu";
  if (name === "cpu") return "cpu";
  // In stable-diffusion.cpp "cuda" is the generator of the others' "NV", computed in software.
  if (name === "nv" || name === "cuda") return "nv-philox";
  return name === "gpu" ? "cuda-philox" : "unknown";
}

/** Forge lists the files beside the model as "Module 1", "Module 2", … */
function moduleOf(
  parameters: ReadonlyMap<string, string>,
  used: Set<string>,
  pattern: RegExp,
): string | null {
  for (const [key, value] of parameters) {
    if (!/^Module \d+$/.test(key) || used.has(key) || !pattern.test(value)) continue;
    used.add(key);
    return value;
  }
  return null;
}

/** What stable-diffusion.cpp says in the JSON behind its infotext alone. */
function sdcppJson(json: string | null): {
  readonly loras: readonly ToolLora[] | null;
  readonly shift: number | null;
  readonly unread: readonly string[];
} {
  if (json === null) return { loras: null, shift: null, unread: [] };
  const parsed = parseToolJson(json, "The SDCPP part of the parameters");
  const fields = new JsonFields(isObject(parsed) ? parsed : {});
  const sampling = fields.nested("sampling");
  const loras = lorasIn(fields, "loras", (lora) => ({
    name: lora.text("name"),
    strength: lora.number("multiplier"),
  }));
  return {
    loras: fields.value("loras") === undefined ? null : loras,
    shift: sampling?.number("flow_shift") ?? null,
    unread: fields.unread,
  };
}

/** SD.Next lists the LoRAs that it loaded; how strong they were stands in the prompt's tags only. */
function namedOnly(networks: string | null, tags: readonly ToolLora[]): string[] {
  const names = networks?.split(",").map((name) => name.trim()) ?? [];
  return names
    .filter((name) => !tags.some((tag) => tag.name === name))
    .map((name) => `How strong the LoRA ${name} was is not written.`);
}

function isEnlarged({ parameters }: Infotext): boolean {
  return [...parameters.keys()].some((key) => /^hires/i.test(key));
}

function notesOf(tool: ToolName, infotext: Infotext, prompt: string): string[] {
  const { parameters } = infotext;
  const notes: string[] = [];
  if (tool === "sd.cpp" && /[()[\]]/.test(prompt)) {
    notes.push(
      "stable-diffusion.cpp takes parentheses and brackets in a prompt for weights and leaves them out.",
    );
  }
  if (parameters.get("VAE Decoder") === "TAESD" || parameters.get("VAE") === "TAESD")
    notes.push("The picture was decoded by TAESD, a small stand-in for the VAE.");
  if (isEnlarged(infotext)) notes.push("The picture was enlarged and drawn over (hires fix).");
  if (parameters.has("Variation seed")) notes.push("A second seed was mixed into the noise.");
  for (const key of ["FP8 weight", "Diffusion in Low Bits"]) {
    const value = parameters.get(key);
    if (value !== undefined) notes.push(`The model's weights are rounded (${key}: ${value}).`);
  }
  if (tool === "sdnext")
    notes.push("SD.Next draws its noise on the GPU unless its settings say otherwise.");
  return notes;
}
