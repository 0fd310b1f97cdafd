import { redactUrl } from "../net/redact.ts";
import { version } from "../version.ts";
import type { Exported, ExportedLora, ExportedRequest } from "./exported.ts";
import { fileNameOf, isLink, roundingWarning } from "./exported.ts";

/**
 * A Python script that draws the request in diffusers from 0.39 on: its own noise levels, one CPU generator,
 * w as guidance. Read in huggingface/diffusers 58eb52c0, `pipelines/z_image/pipeline_z_image.py` and
 * `schedulers/scheduling_flow_match_euler_discrete.py`.
 */
export function toDiffusers(request: ExportedRequest): Exported {
  const { model, prompt, negativePrompt, loras } = request;
  const isOther = model.transformerRepository !== model.repository;
  // Passes of a level: the last one, 0, is diffusers' own.
  const sigmas = request.sigmas.slice(0, -1).map((sigma) => numeral(Math.fround(sigma)));
  const lines = [
    `# By Retake ${version}: one picture of ${model.id} in diffusers, 0.39 or newer.`,
    "# pip install torch diffusers transformers peft accelerate",
    "import argparse",
    "import os",
    "",
    "import torch",
    `from diffusers import FlowMatchEulerDiscreteScheduler, ${isOther ? "ZImagePipeline, ZImageTransformer2DModel" : "ZImagePipeline"}`,
    "",
    'parser = argparse.ArgumentParser(description="Draws one picture.")',
    'parser.add_argument("--weights", help="folder with the hub\'s names, instead of the hub")',
    'parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")',
    'parser.add_argument("--dtype", help="float32 or bfloat16; bfloat16 on a graphics card")',
    'parser.add_argument("--out", default="picture.png")',
    "args = parser.parse_args()",
    'dtype = getattr(torch, args.dtype or ("float32" if args.device == "cpu" else "bfloat16"))',
    "",
    "",
    "def place(repository):",
    "    return os.path.join(args.weights, repository) if args.weights else repository",
    "",
    "",
    ...(isOther
      ? [
          "transformer = ZImageTransformer2DModel.from_pretrained(",
          `    place(${quoted(model.transformerRepository)}), subfolder="transformer", torch_dtype=dtype`,
          ")",
          "pipe = ZImagePipeline.from_pretrained(",
          `    place(${quoted(model.repository)}), transformer=transformer, torch_dtype=dtype`,
          ").to(args.device)",
        ]
      : [
          `pipe = ZImagePipeline.from_pretrained(place(${quoted(model.repository)}), torch_dtype=dtype).to(args.device)`,
        ]),
    `# The noise levels below have their shift of ${request.shift} in them.`,
    "pipe.scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0)",
    ...loraLines(loras),
    "",
    "picture = pipe(",
    `    prompt=${quoted(prompt)},`,
    `    negative_prompt=${quoted(negativePrompt)},`,
    `    width=${request.width},`,
    `    height=${request.height},`,
    `    sigmas=[${sigmas.join(", ")}],`,
    `    # pos + w * (pos - neg): a standard CFG of ${numeral(request.guidanceWeight + 1)}; 0 is one pass without guidance.`,
    `    guidance_scale=${numeral(request.guidanceWeight)},`,
    "    # On the CPU whatever computes: another device's generator draws another picture.",
    `    generator=torch.Generator("cpu").manual_seed(${request.seed}),`,
    ").images[0]",
    "picture.save(args.out)",
    "print(args.out)",
    "",
  ];
  return {
    text: lines.join("\n"),
    warnings: [...loras.flatMap(loraWarnings), ...roundingWarning(request, "diffusers")],
  };
}

function loraLines(loras: readonly ExportedLora[]): string[] {
  if (loras.length === 0) return [];
  const names = loras.map((_, i) => quoted(`lora_${i}`));
  return [
    ...loras.map(({ path }, i) => {
      const file = fileNameOf(path);
      // A link's file is fetched by hand.
      const folder = isLink(path) ? "." : path.slice(0, path.length - file.length) || ".";
      return `pipe.load_lora_weights(${quoted(folder)}, weight_name=${quoted(file)}, adapter_name=${names[i]})`;
    }),
    `pipe.set_adapters([${names.join(", ")}], adapter_weights=[${loras.map(({ multiplier }) => numeral(multiplier)).join(", ")}])`,
  ];
}

function loraWarnings({ path, format, network }: ExportedLora): string[] {
  const name = fileNameOf(path);
  if (isLink(path))
    return [
      `${redactUrl(path)} is a link: fetch its file, as ${name} beside where the script is run.`,
    ];
  if (format === null) return [`Whether diffusers can read ${name} was not looked at.`];
  if (network !== "LoRA")
    return [
      `diffusers reads LoRA only, and ${name} is ${network}: it will refuse it or leave it out.`,
    ];
  if (format === "ai-toolkit" || format === "diffusers") return [];
  return [
    `diffusers may not read ${name}, which is in ${format} format: retake lora convert ${name} OUT --to diffusers.`,
  ];
}

/** Python reads JSON's strings. */
function quoted(text: string): string {
  return JSON.stringify(text);
}

/** The shortest decimals that stand for a number, with a point. */
function numeral(value: number): string {
  const text = String(value);
  return /^-?\d+$/.test(text) ? `${text}.0` : text;
}
