import { InputError, listed } from "../errors.ts";
import { promptRequest } from "../job/prompt-request.ts";
import { mostLoras } from "../job/request.ts";
import { modelById } from "../models/registry.ts";
import { usualRounding } from "../models/rounding-for.ts";
import type { FieldError } from "../wire/fields.ts";
import type { JsonValue } from "../wire/python-json.ts";
import { parseInferenceRequest } from "../wire/request.ts";
import { jobFromRequest } from "../wire/to-job.ts";
import { sampleAt } from "./sample-at.ts";
import type { StatedRequest } from "./stated-request.ts";

/** A body is a file here: nothing is drawn while it is read. */
const limits = {
  loras: mostLoras,
  prompts: 1000,
  promptCharacters: 2 ** 20,
  pixelSteps: Number.MAX_SAFE_INTEGER,
};

/** Fields that Z-Image has no use for, here as in the reference server. */
const ignored = [
  "sampler",
  "num_frames",
  "fps",
  "ctrl_img",
  "ctrl_img_1",
  "ctrl_img_2",
  "ctrl_img_3",
];

/** An id that no request gets. */
const noId = "00000000-0000-4000-8000-000000000000";

/**
 * The request in a body of POST /v1/inference, the reference server's or ours.
 *
 * @param sample which of its prompts; undefined: the first
 * @throws InputError naming the fields that are wrong
 */
export function stateBody(body: JsonValue, sample: number | undefined): StatedRequest {
  const { request, errors } = parseInferenceRequest(body, limits);
  if (request === undefined) {
    throw new InputError(`The request can't be used: ${listed(errors.map(inWords))}.`);
  }
  modelById(request.model);
  const { index, warnings } = sampleAt(sample, request.prompts.length, "prompts");
  const job = jobFromRequest(noId, request);
  const prompt = request.prompts[index]!;
  const unused = ignored.filter((name) => prompt[name as keyof typeof prompt] !== null);
  return {
    source: "a request for the reference server",
    model: request.model,
    request: promptRequest(job, index),
    loras: job.loras.map(({ path, multiplier }) => ({
      name: path,
      multiplier,
      sha256: null,
      file: null,
    })),
    asTrained: job.asTrained ? usualRounding(job.model, null) : null,
    tool: null,
    warnings: [
      ...warnings,
      ...unused.map((name) => `"${name}" does nothing: Z-Image has no use for it.`),
    ],
  };
}

function inWords({ loc, msg }: FieldError): string {
  return `${loc.slice(1).join(".") || "the body"}: ${msg}`;
}
