import { InputError } from "../errors.ts";
import type { ProfileName } from "../job/request.ts";
import { largestSeed } from "../job/seed.ts";
import { flowMatchSchedule } from "../sampler/schedule.ts";
import { familyOf, samplerIn } from "../tools/differences.ts";
import { fileNameOf } from "../tools/exported.ts";
import { sigmasIn } from "../tools/schedule-in.ts";
import type { Negative, ToolName, ToolSettings } from "../tools/settings.ts";
import type { StatedRequest } from "./stated-request.ts";

const titles: Readonly<Record<ToolName, string>> = {
  retake: "Retake",
  comfyui: "ComfyUI",
  swarmui: "SwarmUI",
  a1111: "AUTOMATIC1111",
  forge: "Forge",
  "forge-neo": "Forge Neo",
  sdnext: "SD.Next",
  "sd.cpp": "stable-diffusion.cpp",
  invokeai: "InvokeAI",
  "draw-things": "Draw Things",
  mflux: "mflux",
};

/**
 * Profiles with ComfyUI's guidance, by their noise levels: a tool's picture is stated in the nearer one.
 * `preview-0.10.25` makes N updates, `preview-0.10.21` N - 1; guidance g is the standard CFG in both.
 */
const byLevels: readonly ProfileName[] = ["preview-0.10.25", "preview-0.10.21"];

/** Z-Image's, in every training. */
const shift = 3;

/**
 * The request that comes nearest to another tool's picture.
 *
 * @param picture size of the picture in the file, in pixels
 */
export function statePicture(
  settings: ToolSettings,
  picture: { readonly width: number; readonly height: number },
): StatedRequest {
  const title = titles[settings.tool];
  const warnings: string[] = [];
  const { width, height } = sizeOf(settings, picture, warnings);
  const { profile, steps } = stepsOf(settings, { width, height }, title, warnings);
  const guidanceScale = guidanceOf(settings, warnings);
  const negativePrompt = negativeOf(settings, warnings);
  const seed = seedOf(settings, title, warnings);
  return {
    source: `a picture of ${title}`,
    model: modelOf(settings, warnings),
    request: {
      profile,
      width,
      height,
      seed,
      negativePrompt,
      ...(settings.prompt === null ? {} : { prompt: settings.prompt }),
      ...(steps === null ? {} : { steps }),
      ...(guidanceScale === null ? {} : { guidanceScale }),
    },
    loras: settings.loras.map(({ name, strength }) => ({
      name: fileNameOf(name),
      multiplier: strength,
      sha256: null,
      file: null,
    })),
    asTrained: null,
    tool: {
      name: title,
      settings: Object.entries(settings.own).map(([setting, words]) => ({ setting, ...words })),
      others: settings.others,
    },
    warnings: [
      ...warnings,
      ...samplerWarnings(settings, title),
      ...noiseWarnings(settings, title),
      ...settings.notes,
      ...settings.unread,
    ],
  };
}

/** Sizes are multiples of 16 in every era since 0.9.14. */
function sizeOf(
  { width, height }: ToolSettings,
  picture: { readonly width: number; readonly height: number },
  warnings: string[],
): { width: number; height: number } {
  const asked = width === null || height === null ? picture : { width, height };
  if (width === null) {
    warnings.push(
      `The size is not written: the picture's own, ${picture.width} x ${picture.height}, is taken.`,
    );
  } else if (width !== picture.width || height !== picture.height) {
    warnings.push(
      `It was drawn at ${width} x ${height}, and the file has ${picture.width} x ${picture.height}.`,
    );
  }
  const floored = { width: floor(asked.width), height: floor(asked.height) };
  if (floored.width !== asked.width || floored.height !== asked.height) {
    warnings.push(
      `The size ${asked.width} x ${asked.height} is no multiple of 16: ${floored.width} x ${floored.height} is drawn.`,
    );
  }
  return floored;
}

function floor(pixels: number): number {
  return Math.max(64, Math.trunc(pixels) - (Math.trunc(pixels) % 16));
}

/** The profile and steps whose noise levels are nearest. */
function stepsOf(
  settings: ToolSettings,
  size: { readonly width: number; readonly height: number },
  title: string,
  warnings: string[],
): { profile: ProfileName; steps: number | null } {
  const sigmas = sigmasIn({ ...settings, ...size });
  const [newest] = byLevels;
  if ("unknown" in sigmas) {
    warnings.push(
      `The noise levels are not known: ${sigmas.unknown}. ` +
        `They are drawn as ai-toolkit's newest previews have them, with shift ${shift}.`,
    );
    return { profile: newest!, steps: settings.steps };
  }
  const steps = sigmas.length - 1;
  if (steps < 1 || steps > 1000) {
    warnings.push(`${steps} updates can't be drawn: the model's default is taken.`);
    return { profile: newest!, steps: null };
  }
  const near = byLevels.map((profile, i) => {
    const kind = i === 0 ? "head" : "pin";
    const own = flowMatchSchedule({ steps, shift, kind }).sigmas;
    return { profile, distance: Math.max(...sigmas.map((level, j) => Math.abs(level - own[j]!))) };
  });
  const best = near.toSorted((a, b) => a.distance - b.distance)[0]!;
  if (best.distance > 1e-5) {
    warnings.push(
      `${title}'s noise levels (${scheduleWords(settings)}) are not drawn exactly: ` +
        `they differ by up to ${best.distance.toPrecision(2)} of 1.`,
    );
  }
  return { profile: best.profile, steps };
}

function scheduleWords({ scheduler, shift: own, denoise, window }: ToolSettings): string {
  return [
    scheduler ?? "the tool's own schedule",
    ...(own === null ? [] : [`shift ${own}`]),
    ...(denoise === null || denoise > 0.9999 ? [] : [`denoise ${denoise}`]),
    ...(window === null ? [] : [`steps ${window.from} to ${window.to}`]),
  ].join(", ");
}

/** In both profiles the guidance scale is the standard CFG, from 1 on. */
function guidanceOf({ standardCfg, cfgOwn }: ToolSettings, warnings: string[]): number | null {
  if (standardCfg === null) {
    warnings.push("The guidance is not written: the model's default is taken.");
    return null;
  }
  if (standardCfg < 1) {
    warnings.push(
      `${cfgOwn?.name ?? "cfg"} ${cfgOwn?.value ?? standardCfg} weakens the prompt, which no profile does: ` +
        "guidance is left out.",
    );
    return 1;
  }
  return standardCfg;
}

function negativeOf({ negative, standardCfg }: ToolSettings, warnings: string[]): string {
  const kinds: Readonly<Record<Negative["kind"], string>> = { text: "", zeros: "", space: " " };
  if (negative === null) return "";
  if (negative.kind === "text") return negative.text;
  // Without guidance nobody sees it.
  if (negative.kind === "zeros" && standardCfg !== 1)
    warnings.push("The negative prompt was zeros, not an encoded text: an empty one is drawn.");
  return kinds[negative.kind];
}

function seedOf({ seed }: ToolSettings, title: string, warnings: string[]): bigint {
  if (seed !== null && seed >= 0n && seed <= largestSeed) return seed;
  warnings.push(
    seed === null
      ? "The seed could not be read: 42 is taken."
      : `${title}'s seed ${seed} is beyond 0 to 2^64 - 1: 42 is taken.`,
  );
  return 42n;
}

function modelOf(settings: ToolSettings, warnings: string[]): string | null {
  const { model, textEncoder } = settings;
  if (
    textEncoder !== null &&
    !/qwen[-_]?3[-_]?4b(?:[-_]?bf16)?(?:\.safetensors)?$/i.test(textEncoder)
  )
    warnings.push(`The text encoder was ${fileNameOf(textEncoder)}, which may be other weights.`);
  if (model !== null && /fp8|int8|q\d|nf4|svdq|gguf/i.test(model)) {
    warnings.push(
      `The model's file ${fileNameOf(model)} holds rounded weights: on the command line, --transformer takes it.`,
    );
  }
  return familyOf(settings);
}

function samplerWarnings(settings: ToolSettings, title: string): string[] {
  const { sampler } = settings;
  if (sampler === null || samplerIn(settings) === "euler") return [];
  return [
    `${title}'s sampler ${sampler} is not drawn: Euler makes another picture of the same seed.`,
  ];
}

function noiseWarnings({ noise }: ToolSettings, title: string): string[] {
  if (noise === "cpu") return [];
  if (noise === "bf16-cpu") return [`${title} rounds its noise to bf16; here it is float32.`];
  const from = {
    "cuda-philox": "on a graphics card",
    "nv-philox": "as a graphics card does",
    mlx: "with MLX's generator",
    unknown: "in a way that is not known",
  };
  return [`${title} drew its noise ${from[noise]}: the same seed is another picture here.`];
}

/** @throws InputError if a picture holds nothing that could be drawn */
export function requireKnown(settings: ToolSettings): void {
  if (settings.prompt !== null || settings.seed !== null || settings.steps !== null) return;
  throw new InputError(
    `The picture's parameters can't be read: ${settings.unread.join(" ") || "there are none."}`,
  );
}
