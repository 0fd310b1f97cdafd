import { stringify } from "yaml";
import { InputError } from "../errors.ts";
import type { Profile } from "../models/profiles.ts";
import { guidanceScaleFor, profiles } from "../models/profiles.ts";
import { version } from "../version.ts";
import type { Exported, ExportedRequest } from "./exported.ts";

/** As PyYAML reads it, YAML 1.1; a text without quotes or in a block loses blanks. */
const yaml = {
  version: "1.1",
  lineWidth: 0,
  defaultStringType: "QUOTE_DOUBLE",
  defaultKeyType: "PLAIN",
} as const;

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
  const sample = {
    sample: {
      sampler: "flowmatch",
      width: request.width,
      height: request.height,
      // A seed of its own for each sample, not counted on.
      walk_seed: false,
      seed: request.seed,
      guidance_scale: guidanceScale,
      sample_steps: era.schedule === "pin" && updates > 1 ? updates + 1 : updates,
      samples: [
        {
          prompt: request.prompt,
          neg: request.negativePrompt,
          network_multiplier: lora?.multiplier ?? 0,
        },
      ],
    },
  };
  const head =
    `# By Retake ${version}, for ai-toolkit ${versionsOf(era)}: the sample section of a job's configuration.\n` +
    `# guidance_scale ${guidanceScale} is a standard CFG of ${request.guidanceWeight + 1} there; the steps make ${updates} updates.\n`;
  return {
    text: head + stringify(sample, yaml),
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
      ...(request.asTrained
        ? []
        : [
            "A job with quantize: true draws with rounded weights: the picture is near, not the same.",
          ]),
    ],
  };
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
  for (const word of ["[trigger]", "[name]"]) {
    if (prompt.includes(word) || negativePrompt.includes(word))
      warnings.push(`The trainer puts another text in the place of ${word}.`);
  }
  return warnings;
}
