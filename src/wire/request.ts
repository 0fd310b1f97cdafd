import { imageFormats } from "../job/job.ts";
import { askedProfileNames, bounds, defaultPixels } from "../job/request.ts";
import { drawnSeed, largestSeed } from "../job/seed.ts";
import type { FieldError } from "./fields.ts";
import {
  decimal,
  integer,
  listOf,
  objectOf,
  oneOf,
  optional,
  required,
  text,
  truth,
} from "./fields.ts";
import type { JsonValue } from "./python-json.ts";
import type { Holds } from "./shapes.ts";
import { documented } from "./shapes.ts";

const mask = "***";
const tokenField = "hf_token";
/** The field's name, or what Hugging Face's tokens look like. */
const mentionsToken = /hf_(?:token|\w{8,})/i;

/**
 * What a client sent in a field, fit to be sent back in an error. Whatever
 * stands under `hf_token` is masked at any depth. A text is not taken apart: a
 * body sent with another content type, or JSON inside a string, is masked as a
 * whole when it mentions a token.
 */
function withoutTokens(name: unknown, value: unknown): unknown {
  if (typeof value === "string") {
    return isTokenField(name) || mentionsToken.test(value) ? mask : value;
  }
  // Numbers and booleans are no tokens, and say what is wrong with the field.
  if (value === null || typeof value !== "object") return value;
  if (isTokenField(name)) return mask;
  if (Array.isArray(value)) return value.map((part, i) => withoutTokens(i, part));
  return Object.fromEntries(
    Object.entries(value).map(([inner, part]) => [inner, withoutTokens(inner, part)]),
  );
}

function isTokenField(name: unknown): boolean {
  return typeof name === "string" && name.toLowerCase() === tokenField;
}

/** What the server bounds and the reference doesn't. */
export interface RequestLimits {
  /** LoRAs of one request, for the documentation. A request with more gets the reference's own answer. */
  readonly loras: number;
  readonly prompts: number;
  readonly promptCharacters: number;
  /** Width x height x steps of one prompt. */
  readonly pixelSteps: number;
}

/** Longer paths, words and URLs are refused; nothing real comes near. */
const mostCharacters = 4096;
/** Control images are ignored: Z-Image takes none. Only the bound of the whole body holds for them. */
const anyText = text();

/**
 * The body of POST /v1/inference: the reference's fields in its order, which
 * errors follow, then ours.
 *
 * @param models ids for the documentation; another one gets an answer that lists them
 */
export function inferenceRequest(
  { loras, prompts, promptCharacters }: RequestLimits,
  models: readonly string[] = [],
) {
  const short = text({ maxLength: mostCharacters });
  const prompt = text({ maxLength: promptCharacters });
  const pixels = integer(bounds.pixels);
  const lora = objectOf("LoraItem", {
    path: required(short),
    transformer: optional(oneOf(["low", "high"])),
    network_multiplier: optional(decimal(bounds.multiplier)),
  });
  const item = objectOf("PromptItem", {
    prompt: required(prompt),
    trigger_word: optional(short),
    width: optional(pixels),
    height: optional(pixels),
    guidance_scale: optional(decimal(bounds.guidanceScale)),
    sample_steps: optional(integer(bounds.steps)),
    neg: optional(prompt),
    seed: optional(integer({ ge: Number(drawnSeed) })),
    sampler: optional(short),
    num_frames: optional(integer({ ge: 1, le: 1000 })),
    fps: optional(integer({ ge: 1, le: 120 })),
    resolution: optional(oneOf(["Default", "High"])),
    ctrl_img: optional(anyText),
    ctrl_img_1: optional(anyText),
    ctrl_img_2: optional(anyText),
    ctrl_img_3: optional(anyText),
  });
  return objectOf("InferenceInput", {
    model: required(documented(short, { enum: models })),
    loras: required(
      documented(listOf(lora, { maxItems: prompts }), { minItems: 1, maxItems: loras }),
    ),
    hf_token: optional(short),
    trigger_word: optional(short),
    prompts: required(documented(listOf(item, { maxItems: prompts }), { minItems: 1 })),
    kv_cache: optional(truth()),
    match_target_res: optional(truth()),
    output_format: optional(oneOf(imageFormats)),
    profile: optional(oneOf(askedProfileNames)),
    as_trained: optional(
      documented(truth(), {
        description:
          "weights rounded as in the trainer's quantised jobs (qfloat8), by the version in the first LoRA's header",
      }),
    ),
    priority: optional(integer({ ge: -10, le: 10 })),
    preview_every: optional(integer(bounds.steps)),
    webhook_url: optional(short),
  });
}

export type InferenceRequest = Holds<ReturnType<typeof inferenceRequest>>;

export type ParsedRequest =
  | { readonly request: InferenceRequest; readonly errors?: never }
  | { readonly request?: never; readonly errors: readonly FieldError[] };

/** Checks a body. Errors carry what was sent, but never a token. */
export function parseInferenceRequest(body: JsonValue, limits: RequestLimits): ParsedRequest {
  const errors: FieldError[] = [];
  const request = inferenceRequest(limits).parse(body, ["body"], errors);
  if (request === undefined) return { errors: errors.map(withoutToken) };
  if (request.prompts.length === 0) {
    const type = "value_error";
    const msg = "Value error, At least one prompt must be provided in 'prompts'";
    const ctx = { error: {} };
    return { errors: [withoutToken({ type, loc: ["body"], msg, input: body, ctx })] };
  }
  const excess = request.prompts.flatMap((prompt, i) => excessOf(prompt, i, limits));
  return excess.length > 0 ? { errors: excess } : { request };
}

/** Refuses what the reference accepts, and then fails at or never finishes. */
function excessOf(
  { seed, width, height, sample_steps }: InferenceRequest["prompts"][number],
  index: number,
  { pixelSteps }: RequestLimits,
): FieldError[] {
  const loc = ["body", "prompts", index] as const;
  const errors: FieldError[] = [];
  if (seed !== null && seed > largestSeed) {
    const msg = `Input should be less than or equal to ${largestSeed}`;
    const ctx = { le: largestSeed };
    errors.push({ type: "less_than_equal", loc: [...loc, "seed"], msg, input: seed, ctx });
  }
  const side = BigInt(defaultPixels);
  const work = (width ?? side) * (height ?? side) * (sample_steps ?? 1n);
  if (work > BigInt(pixelSteps)) {
    const msg = `Width x height x sample_steps should be at most ${pixelSteps}`;
    const ctx = { limit: pixelSteps };
    errors.push({ type: "too_much_work", loc, msg, input: null, ctx });
  }
  return errors;
}

/** The reference sends tokens back in its errors; ours never does. */
export function withoutToken(error: FieldError): FieldError {
  return { ...error, input: withoutTokens(error.loc.at(-1), error.input) };
}
