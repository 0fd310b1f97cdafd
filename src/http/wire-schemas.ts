import { imageFormats, jobStates } from "../job/job.ts";
import { models } from "../models/registry.ts";

/** A part of the document; JSON Schema 2020-12 where it is a schema. */
export type Schema = Readonly<Record<string, unknown>>;

export const modelIds = models.map((model) => model.id);
export const text: Schema = { type: "string" };
export const textOrNull: Schema = { type: ["string", "null"] };
const time: Schema = { type: "string", format: "date-time" };
const timeOrNull: Schema = { type: ["string", "null"], format: "date-time" };
export const state: Schema = { type: "string", enum: [...jobStates] };
const whole: Schema = { type: "integer" };

export function object(properties: Record<string, Schema>): Schema {
  return { type: "object", properties, required: Object.keys(properties) };
}

export function listOf(items: Schema): Schema {
  return { type: "array", items };
}

function orNull(schema: Schema): Schema {
  return { anyOf: [schema, { type: "null" }] };
}

const image = object({
  format: { type: "string", enum: [...imageFormats] },
  width: whole,
  height: whole,
  file_path: text,
  seed: whole,
  url: { type: "string", format: "uri" },
  effective: { type: "object" },
});
const outputs = orNull(object({ images: listOf(image), videos: listOf({ type: "object" }) }));
export const submitted = object({
  request_id: text,
  status: { type: "string", const: "queued" },
  status_url: text,
  result_url: text,
  created_at: time,
  events_url: text,
  cancel_url: text,
});
export const status = object({
  request_id: text,
  status: state,
  created_at: time,
  started_at: timeOrNull,
  finished_at: timeOrNull,
  error: textOrNull,
  model: text,
  progress: orNull(
    object({
      prompt_index: whole,
      prompts: whole,
      step: whole,
      total: whole,
      seconds_left: { type: ["number", "null"] },
    }),
  ),
});
export const result = object({
  request_id: text,
  status: state,
  outputs,
  error: textOrNull,
  created_at: time,
  finished_at: timeOrNull,
  metadata: orNull(
    object({ model: text, inference_time: { type: "number" }, timings: { type: "object" } }),
  ),
  partial_outputs: outputs,
  error_code: textOrNull,
});
const number: Schema = { type: "number" };
const ranks = listOf({ type: ["integer", "null"] });
/** What a LoRA file is: `LoraDescription` without its path. */
const description = object({
  bytes: whole,
  sha256: text,
  format: text,
  network: text,
  name: textOrNull,
  version: textOrNull,
  base_model: textOrNull,
  trainer: textOrNull,
  trainer_version: textOrNull,
  step: { type: ["integer", "null"] },
  epoch: { type: ["integer", "null"] },
  trigger_words: listOf(text),
  dataset_tags: { type: "object", additionalProperties: whole },
  modules: whole,
  parameters: whole,
  rank: ranks,
  groups: listOf(
    object({
      group: text,
      modules: whole,
      rank: ranks,
      alpha: listOf(number),
      scale: listOf(number),
      dtype: listOf(text),
    }),
  ),
  strength: { type: "object", additionalProperties: { type: ["number", "null"] } },
  preview_era: orNull(
    object({
      from: text,
      to: textOrNull,
      guidance: text,
      guidance_above: whole,
      updates: text,
      divisor: whole,
      doubt: textOrNull,
    }),
  ),
  preview_era_unknown: textOrNull,
  unusable: textOrNull,
  problems: listOf(text),
  notes: listOf(text),
});
const uploadFields = {
  id: { type: "string", pattern: "^[0-9a-f]{64}$", description: "SHA-256 of the file" },
  path: { type: "string", description: "what a request writes as loras[].path" },
  name: textOrNull,
  bytes: whole,
  created_at: time,
};
export const upload = object(uploadFields);
export const describedUpload = object({ ...uploadFields, description });
export const inspected = object({ description });
/** One server-sent event; `data` is JSON. */
export const event: Schema = {
  type: "object",
  properties: {
    id: text,
    event: { type: "string", enum: ["state", "progress", "preview", "image"] },
    data: { type: "string", contentMediaType: "application/json" },
  },
};
export const model = object({
  id: text,
  base_model: text,
  resolution_divisor: whole,
  default_steps: whole,
  default_guidance_scale: { type: "number" },
  requires_control_image: { type: "boolean" },
  is_video_model: { type: "boolean" },
  default_num_frames: { type: ["integer", "null"] },
  default_fps: { type: ["integer", "null"] },
});
export const apiError = object({
  detail: object({ error: object({ code: text, message: text, details: { type: "object" } }) }),
});
export const plainError = object({ detail: text });
export const validationError = object({
  detail: listOf({
    type: "object",
    properties: {
      type: text,
      loc: listOf({ type: ["string", "integer"] }),
      msg: text,
      input: {},
      ctx: { type: "object" },
    },
    required: ["type", "loc", "msg", "input"],
  }),
});
