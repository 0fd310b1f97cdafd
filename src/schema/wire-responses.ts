import { imageFormats, jobStates } from "./job.ts";
import type { JsonSchema } from "./json-schema.ts";
import { listOf, object, orNull, text, textOrNull, whole } from "./json-schema.ts";

// The bodies of answers, for the API's documentation. Members that may be null
// are always there: the reference writes its nulls, and so do we.

const time: JsonSchema = { type: "string", format: "date-time" };
const timeOrNull: JsonSchema = { type: ["string", "null"], format: "date-time" };
export const stateSchema: JsonSchema = { type: "string", enum: [...jobStates] };

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
export const submittedSchema: JsonSchema = object({
  request_id: text,
  status: { type: "string", const: "queued" },
  status_url: text,
  result_url: text,
  created_at: time,
  events_url: text,
  cancel_url: text,
});
export const statusSchema: JsonSchema = object({
  request_id: text,
  status: stateSchema,
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
export const resultSchema: JsonSchema = object({
  request_id: text,
  status: stateSchema,
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
/** One server-sent event; `data` is JSON. */
export const eventSchema: JsonSchema = {
  type: "object",
  properties: {
    id: text,
    event: { type: "string", enum: ["state", "progress", "preview", "image"] },
    data: { type: "string", contentMediaType: "application/json" },
  },
};
export const modelSchema: JsonSchema = object({
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
export const apiErrorSchema: JsonSchema = object({
  detail: object({ error: object({ code: text, message: text, details: { type: "object" } }) }),
});
export const plainErrorSchema: JsonSchema = object({ detail: text });
export const validationErrorSchema: JsonSchema = object({
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
