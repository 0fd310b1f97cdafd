import { version } from "../version.ts";
import { rawJson } from "../wire/python-json.ts";
import type { Exported, ExportedLora, ExportedRequest } from "./exported.ts";
import { fileNameOf, roundingWarning } from "./exported.ts";
import { toolSigmas } from "./schedules.ts";

/** The files of Comfy-Org's repackaged repositories, and De-Turbo's own. */
const transformerFiles: Readonly<Record<string, string>> = {
  zimage: "z_image_bf16.safetensors",
  zimage_turbo: "z_image_turbo_bf16.safetensors",
  zimage_deturbo: "z_image_de_turbo_v1_bf16.safetensors",
};

/** What `nodes.py` takes. */
const mostCfg = 100;
const mostStrength = 100;

type Inputs = Readonly<Record<string, unknown>>;
type Link = readonly [string, number];

/**
 * A graph for ComfyUI's API, which its editor opens too. Read in Comfy-Org/ComfyUI a125cd84: `nodes.py`,
 * `comfy/samplers.py`, `comfy_extras/nodes_custom_sampler.py` and `nodes_model_advanced.py`.
 *
 * KSampler with `simple` where that gives the request's own noise levels; else they are written out.
 */
export function toComfyui(request: ExportedRequest): Exported {
  const { model, sigmas, shift, loras } = request;
  const nodes: Record<string, { class_type: string; inputs: Inputs; _meta: { title: string } }> =
    {};
  const add = (id: string, type: string, title: string, inputs: Inputs): Link => {
    nodes[id] = { class_type: type, inputs, _meta: { title } };
    return [id, 0];
  };
  const clip = add("1", "CLIPLoader", "Text encoder", {
    clip_name: "qwen_3_4b.safetensors",
    type: "lumina2",
    device: "default",
  });
  const vae = add("2", "VAELoader", "VAE", { vae_name: "ae.safetensors" });
  let loaded = add("3", "UNETLoader", "Transformer", {
    unet_name: transformerFiles[model.id] ?? `${model.id}.safetensors`,
    weight_dtype: "default",
  });
  for (const [i, { path, multiplier }] of loras.entries()) {
    loaded = add(`lora${i + 1}`, "LoraLoaderModelOnly", `LoRA ${i + 1}`, {
      lora_name: fileNameOf(path),
      strength_model: multiplier,
      model: loaded,
    });
  }
  const shifted = add("4", "ModelSamplingAuraFlow", "Shift", { shift, model: loaded });
  const text = (id: string, title: string, prompt: string) =>
    add(id, "CLIPTextEncode", title, { text: escaped(prompt), clip });
  const positive = text("5", "Prompt", request.prompt);
  const negative = text("6", "Negative prompt", request.negativePrompt);
  const latents = add("7", "EmptySD3LatentImage", "Size", {
    width: request.width,
    height: request.height,
    batch_size: 1,
  });
  const seed = rawJson(String(request.seed));
  const cfg = request.guidanceWeight + 1;
  const steps = sigmas.length - 1;
  const simple = toolSigmas({ schedule: "simple", steps, shift });
  const isSimple = sigmas.every((sigma, i) => Math.abs(sigma - simple[i]!) < 1e-6);
  const guided = { model: shifted, positive, negative, cfg };
  const drawn = isSimple
    ? add("8", "KSampler", "Sampler", {
        ...guided,
        seed,
        steps,
        sampler_name: "euler",
        scheduler: "simple",
        denoise: 1,
        latent_image: latents,
      })
    : add("8", "SamplerCustomAdvanced", "Sampler", {
        noise: add("11", "RandomNoise", "Seed", { noise_seed: seed }),
        guider: add("12", "CFGGuider", "Guidance", guided),
        sampler: add("13", "KSamplerSelect", "Euler", { sampler_name: "euler" }),
        sigmas: add("14", "ManualSigmas", "Noise levels", { sigmas: sigmas.join(", ") }),
        latent_image: latents,
      });
  const picture = add("9", "VAEDecode", "Decode", { samples: drawn, vae });
  add("10", "SaveImage", `Save (by Retake ${version})`, {
    filename_prefix: "retake",
    images: picture,
  });
  return {
    text: `${JSON.stringify(nodes, null, 2)}\n`,
    warnings: [
      `The files are called as Comfy-Org has them: ${Object.values(nodes).flatMap(namesIn).join(", ")}. ` +
        "Choose yours where they have other names.",
      ...(isSimple ? [] : [levelsWarning(sigmas, simple)]),
      ...loras.flatMap(loraWarnings),
      ...(cfg > mostCfg || loras.some(({ multiplier }) => Math.abs(multiplier) > mostStrength)
        ? [`ComfyUI refuses a cfg above ${mostCfg} and a strength beyond ±${mostStrength}.`]
        : []),
      ...(/\bembedding:/.test(`${request.prompt} ${request.negativePrompt}`)
        ? ['ComfyUI takes what follows "embedding:" in a prompt for a file\'s name.']
        : []),
      "ComfyUI has no limit of 512 tokens, and computes in bf16 or less where the model is stored so.",
      ...roundingWarning(request, "ComfyUI"),
    ],
  };
}

/** ComfyUI drops the backslash before a parenthesis (`unescape_important` in `comfy/sd1_clip.py`). */
function escaped(prompt: string): string {
  return prompt.replaceAll(/\\([()])/g, "\\\\$1");
}

function namesIn({ inputs }: { readonly inputs: Inputs }): string[] {
  return [inputs.unet_name, inputs.clip_name, inputs.vae_name].filter(
    (name): name is string => typeof name === "string",
  );
}

function levelsWarning(sigmas: readonly number[], simple: Float32Array): string {
  const distance = Math.max(...sigmas.map((sigma, i) => Math.abs(sigma - simple[i]!)));
  return (
    `ComfyUI's "simple" misses these noise levels by up to ${distance.toPrecision(2)} of 1, so they are written out: ` +
    "ManualSigmas, ComfyUI's own node for that, is younger than October 2025."
  );
}

function loraWarnings({ path, network }: ExportedLora): string[] {
  const name = fileNameOf(path);
  return network === null || network === "LoRA"
    ? []
    : [
        `ComfyUI leaves out what it can't read of ${name}, which is ${network}, and only its log says so.`,
      ];
}
