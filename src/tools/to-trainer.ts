import { InputError } from "../errors.ts";
import type { Profile } from "../models/profiles.ts";
import { guidanceScaleFor, profiles } from "../models/profiles.ts";
import { version } from "../version.ts";
import type { Exported, ExportedRequest } from "./exported.ts";

const newest = profiles["preview-0.10.25"];

/**
 * The `sample` section of a job's configuration that makes ai-toolkit preview the request: numbers in the era
 * of the LoRA's trainer, else of the request's profile, else of the newest one.
 *
 * @throws InputError if no number of that era means the same
 */
export function toTrainer(request: ExportedRequest): Exported {
  const era = eraOf(request);
  const guidanceScale = guidanceScaleFor(era, request.guidanceWeight);
  if (guidanceScale === null) {
    throw new InputError(
      `ai-toolkit ${versionsOf(era)} can't guide with a weight of ${request.guidanceWeight}: ` +
        `it guides where it is above ${era.guidedAbove}. Give another --guidance.`,
    );
  }
  const updates = request.sigmas.length - 1;
  const [lora, ...others] = request.loras;
  const lines = [
    `# By Retake ${version}, for ai-toolkit ${versionsOf(era)}: the sample section of a job's configuration.`,
    `# guidance_scale ${guidanceScale} is a standard CFG of ${request.guidanceWeight + 1} there; the steps make ${updates} updates.`,
    "sample:",
    `  sampler: ${quoted("flowmatch")}`,
    `  width: ${request.width}`,
    `  height: ${request.height}`,
    // A seed of its own for each sample, not counted on.
    "  walk_seed: false",
    `  seed: ${request.seed}`,
    `  guidance_scale: ${guidanceScale}`,
    `  sample_steps: ${era.schedule === "pin" && updates > 1 ? updates + 1 : updates}`,
    "  samples:",
    `    - prompt: ${quoted(request.prompt)}`,
    `      neg: ${quoted(request.negativePrompt)}`,
    `      network_multiplier: ${lora?.multiplier ?? 0}`,
    "",
  ];
  return {
    text: lines.join("\n"),
    warnings: [
      ...sizeWarnings(request, era),
      ...promptWarnings(request),
      ...(others.length === 0
        ? []
        : [
            "The trainer draws with the LoRA that it trains and no other: the further ones are left out.",
          ]),
      ...(lora === undefined
        ? ["There is no LoRA: a network_multiplier of 0 draws the base model alone."]
        : []),
      ...(request.shift === 3
        ? []
        : [`The trainer's shift is 3, and this request's is ${request.shift}: another picture.`]),
      request.rounding === null
        ? "A job with quantize: true draws with rounded weights: the picture is near, not the same."
        : "The job has to quantise as this request does (quantize, quantize_te, qtype): this section doesn't say so.",
    ],
  };
}

/**
 * A JSON string is one of YAML too, but for what PyYAML refuses or takes for a line's end. The trainer puts the
 * environment's variables in the place of $ and a name in braces before it reads the YAML, so no $ is written.
 */
function quoted(text: string): string {
  return JSON.stringify(text).replace(
    /[$\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function eraOf({ loras, profile }: ExportedRequest): Profile {
  const own = loras[0]?.era;
  if (own != null) return own;
  return profile.versions === null ? newest : profile;
}

function versionsOf({ versions }: Profile): string {
  const { from, to } = versions ?? newest.versions!;
  return to === null ? `${from} and later` : `${from} to ${to}`;
}

function sizeWarnings({ width, height }: ExportedRequest, { divisor }: Profile): string[] {
  if (width % divisor === 0 && height % divisor === 0) return [];
  return [`The trainer floors ${width} x ${height} to multiples of ${divisor}.`];
}

function promptWarnings({ prompt, negativePrompt }: ExportedRequest): string[] {
  const warnings: string[] = [];
  if (prompt.includes("--"))
    warnings.push('The trainer takes "--" in a prompt for a flag and cuts the prompt there.');
  if (prompt !== prompt.trim()) warnings.push("The trainer drops blanks around a prompt.");
  const another = "The trainer puts another text in the place of";
  if (prompt.includes("[trigger]")) warnings.push(`${another} [trigger].`);
  if (`${prompt} ${negativePrompt}`.includes("[name]")) warnings.push(`${another} [name].`);
  return warnings;
}
