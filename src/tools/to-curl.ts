import { InputError } from "../errors.ts";
import { bounds } from "../job/request.ts";
import { guidanceScaleFor, profiles } from "../models/profiles.ts";
import { version } from "../version.ts";
import { rawJson, writeJson } from "../wire/python-json.ts";
import type { Exported, ExportedRequest } from "./exported.ts";
import { fileNameOf, isLink } from "./exported.ts";

/**
 * A shell script that sends the request to a server: this one's API, and the reference server's where the
 * profile is `reference`, which is the only one that it has.
 *
 * @throws InputError if the API's bounds are too narrow for the request
 */
export function toCurl(request: ExportedRequest): Exported {
  const { model, profile, loras } = request;
  requireBounds(request);
  const body = {
    model: model.id,
    loras: loras.map(({ path, multiplier }) => ({
      path: isLink(path) ? path : fileNameOf(path),
      network_multiplier: multiplier,
    })),
    prompts: [
      {
        prompt: request.prompt,
        neg: request.negativePrompt,
        width: request.width,
        height: request.height,
        guidance_scale: request.guidanceScale,
        sample_steps: request.steps,
        seed: rawJson(String(request.seed)),
      },
    ],
    output_format: "png",
    ...(profile.name === "reference" ? {} : { profile: profile.name }),
    ...(request.rounding === null ? {} : { as_trained: true }),
  };
  const text = [
    "#!/bin/sh",
    `# By Retake ${version}. Sends the request to a server and prints where its status and result are.`,
    "# RETAKE_SERVER names another server than this machine's, RETAKE_API_KEY a key where one is needed.",
    'curl --fail-with-body --silent --show-error "$' +
      '{RETAKE_SERVER:-http://localhost:8000}/v1/inference" \\',
    "  --header 'Content-Type: application/json' \\",
    "  $" + '{RETAKE_API_KEY:+--header "Authorization: Bearer $RETAKE_API_KEY"} \\',
    "  --data-binary @- <<'END_OF_REQUEST'",
    writeJson(body),
    "END_OF_REQUEST",
    "",
  ].join("\n");
  const warnings = [
    ...placeWarnings(request),
    ...roundingWarnings(request),
    ...referenceWarnings(request),
  ];
  return { text, warnings };
}

function requireBounds({ loras, steps, guidanceScale }: ExportedRequest): void {
  const outside = (value: number, { ge, le }: { readonly ge: number; readonly le: number }) =>
    value < ge || value > le;
  const refuse = (what: string) => {
    throw new InputError(`The API can't take this request: ${what}.`);
  };
  if (loras.length === 0) refuse("it needs a LoRA; give one as --lora");
  for (const { multiplier } of loras) {
    if (outside(multiplier, bounds.multiplier))
      refuse(`a multiplier is from ${bounds.multiplier.ge} to ${bounds.multiplier.le}`);
  }
  if (outside(steps, bounds.steps)) refuse(`steps are from 1 to ${bounds.steps.le}`);
  if (outside(guidanceScale, bounds.guidanceScale))
    refuse(`guidance is from 0 to ${bounds.guidanceScale.le}`);
}

function placeWarnings({ loras }: ExportedRequest): string[] {
  const files = loras.filter(({ path }) => !isLink(path)).map(({ path }) => fileNameOf(path));
  return [
    ...[...new Set(files)].map(
      (file) =>
        `${file} is looked for in the server's LoRA folder (WORKFLOWS_BASE_PATH): put it there, or ` +
        "upload it (POST /v1/loras) and write the path that it is answered with.",
    ),
    ...(loras.length === 1
      ? []
      : [
          `A server takes one LoRA unless it was started with RETAKE_MAX_LORAS=${loras.length} or more; the reference server takes one.`,
        ]),
  ];
}

/** The API rounds in one way, and the reference server not at all. */
function roundingWarnings({ rounding }: ExportedRequest): string[] {
  if (rounding === null) return [];
  return [
    ...(rounding === "usual"
      ? []
      : [
          "The API's \"as_trained\" rounds as ai-toolkit's page sets a job up, and this request is rounded otherwise: " +
            "the server draws another picture.",
        ]),
    'The reference server drops "as_trained": it runs the weights as they are stored.',
  ];
}

/** What the reference server would have to be asked, as it knows no profiles. */
function referenceWarnings({ profile, sigmas, guidanceWeight, width, height }: ExportedRequest) {
  if (profile.name === "reference") return [];
  const { divisor } = profiles.reference;
  const scale = guidanceScaleFor(profiles.reference, guidanceWeight);
  const fits = width % divisor === 0 && height % divisor === 0;
  return [
    `The reference server drops "profile" and draws as profile reference does. ` +
      (fits && scale !== null
        ? `The same picture needs sample_steps ${sigmas.length === 2 ? 1 : sigmas.length} and guidance_scale ${scale} there.`
        : `${width} x ${height} can't be drawn there: sizes are floored to multiples of ${divisor}.`),
  ];
}
