import { jobKinds, jobStates } from "../job/job.ts";
import type { FieldError } from "./fields.ts";
import { profileFacts } from "./profiles.ts";
import type { Holds, Shape } from "./shapes.ts";
import {
  anything,
  arrayOf,
  documented,
  flag,
  link,
  mapOf,
  number,
  object,
  orNull,
  string,
  time,
  wholeNumber,
  word,
} from "./shapes.ts";

// What the API answers about requests, field by field. The rendering code is
// typed by it and /openapi.json is made of it; a page takes its types from it.

/** Exact to the last digit. A reader that makes doubles of integers rounds it above 2^53. */
export const seed: Shape<number | bigint> = { schema: { type: "integer", minimum: 0 } };
export const state = word(...jobStates);

export const submitted = object({
  request_id: string,
  // The reference's word here; status calls the same state in_queue.
  status: word("queued"),
  status_url: link,
  result_url: link,
  created_at: time,
  events_url: link,
  cancel_url: link,
});
export type Submitted = Holds<typeof submitted>;

export const status = object({
  request_id: string,
  status: state,
  created_at: time,
  started_at: orNull(time),
  finished_at: orNull(time),
  error: orNull(string),
  model: string,
  kind: documented(word(...jobKinds), {
    description: "retake: a training's previews, taken again",
  }),
  progress: orNull(
    object({
      prompt_index: wholeNumber,
      prompts: documented(wholeNumber, { description: "of the request" }),
      step: documented(wholeNumber, { description: "steps done of this prompt" }),
      total: wholeNumber,
      seconds_left: documented(orNull(number), {
        description: "of the whole request; null until a step was timed",
      }),
    }),
  ),
});
export type Status = Holds<typeof status>;

/** A page of a list, newest first. `next` goes into the query as `after`; null: there is no more. */
export function pageOf<Name extends string, Item>(name: Name, item: Shape<Item>) {
  const items = { [name]: arrayOf(item) } as Record<Name, Shape<readonly Item[]>>; // that one name
  return object({ ...items, next: orNull(string) });
}

export const statusPage = pageOf("requests", status);
export type StatusPage = Holds<typeof statusPage>;

export const asTrained = orNull(
  object({
    dtype: documented(string, { description: "what the training held weights in" }),
    transformer: documented(string, {
      description:
        "quanto or torchao: to 8 bits; uint2 to uint7; or the dtype: not rounded further",
    }),
    text_encoder: string,
    embedders: documented(flag, { description: "the transformer's embedders too" }),
    training_adapter: orNull(string),
  }),
);

const usedDevice = object({
  name: string,
  adapter: documented(orNull(string), { description: "the card; null: the CPU, or not known" }),
  reason: documented(orNull(string), { description: "why auto took it; null: it was named" }),
});

/** What decided how a picture looks, but for its seed. */
const effectiveFields = {
  software: string,
  model: string,
  transformer: documented(object({ file: orNull(string), quantization: orNull(string) }), {
    description: "the file that took the place of the model's own, and how it is stored",
  }),
  storage: documented(string, {
    description: "how the transformer's weights were held: original, f32, f16 or int8",
  }),
  as_trained: documented(asTrained, {
    description: "how the weights were rounded as in training; null: they were not",
  }),
  device: documented(usedDevice, {
    description: "what computed; the last bits differ between them",
  }),
  profile: string,
  profile_asked: documented(string, {
    description: "as in the request; preview: an era is chosen",
  }),
  profile_reason: documented(orNull(string), {
    description: "why it is this one; null: the request names it",
  }),
  prompt: documented(string, { description: "with its trigger word filled in" }),
  negative_prompt: string,
  width: wholeNumber,
  height: wholeNumber,
  num_inference_steps: wholeNumber,
  guidance_scale: documented(number, { description: "as in the request" }),
  standard_cfg: documented(number, { description: "s of neg + s·(pos - neg); 1: none" }),
  schedule: string,
  sigmas: arrayOf(number),
  loras: arrayOf(object({ sha256: string, name: orNull(string), network_multiplier: number })),
  weights: documented(mapOf(string), { description: "what identifies each network's weights" }),
  warnings: arrayOf(string),
};

/** Pictures that an earlier version made may lack what it did not know. */
export const effective = object({ seed }, effectiveFields);

/** The same of a picture that was perhaps not made. */
export const plannedSettings = object({}, { seed, ...effectiveFields });
export type EffectiveAnswer = Holds<typeof effective>;

/** The data of each kind of server-sent event. */
const eventData = {
  state: object({ request_id: string, status: state }),
  progress: object({
    request_id: string,
    prompt_index: wholeNumber,
    step: wholeNumber,
    total: wholeNumber,
    seconds_left: orNull(number),
  }),
  preview: object({
    request_id: string,
    prompt_index: wholeNumber,
    step: wholeNumber,
    url: link,
  }),
  image: object({ request_id: string, prompt_index: wholeNumber, seed, url: link }),
  retake: object({
    request_id: string,
    preview: documented(orNull(string), { description: "in the job's folder" }),
    step: documented(wholeNumber, { description: "of the training" }),
    index: documented(wholeNumber, { description: "of the sample, from 0" }),
    verdict: string,
    psnr: orNull(number),
    url: documented(orNull(link), { description: "of the retake; null: it could not be drawn" }),
  }),
};
export type EventData = Holds<(typeof eventData)[keyof typeof eventData]>;

/** One server-sent event; `data` is JSON. */
export const event: Shape<unknown> = {
  schema: {
    oneOf: Object.entries(eventData).map(([name, { schema }]) => ({
      type: "object",
      properties: {
        id: { type: "string", description: "goes into Last-Event-ID" },
        event: { type: "string", const: name },
        data: { type: "string", contentMediaType: "application/json", contentSchema: schema },
      },
      required: ["id", "event", "data"],
    })),
  },
};

export const modelList = object({
  devices: documented(arrayOf(usedDevice), {
    description: "what this server's workers compute on, one each; none: others do its work",
  }),
  storages: documented(
    arrayOf(object({ model: string, device: string, storage: orNull(string), reason: string })),
    {
      description:
        "how this server's workers hold each model's weights; null: they can't, or it is not here",
    },
  ),
  profiles: documented(arrayOf(profileFacts), { description: "what numbers mean, by name" }),
  models: arrayOf(
    object({
      id: string,
      base_model: string,
      resolution_divisor: wholeNumber,
      default_steps: wholeNumber,
      default_guidance_scale: number,
      requires_control_image: flag,
      is_video_model: flag,
      default_num_frames: orNull(wholeNumber),
      default_fps: orNull(wholeNumber),
    }),
  ),
});
export type ModelList = Holds<typeof modelList>;

export const health = object({ status: word("healthy") });
export const readiness = object({ status: word("ready") });
export type Health = Holds<typeof health>;
export type Readiness = Holds<typeof readiness>;

/** A refusal in the reference's shape. */
export const apiError = object({
  detail: object({ error: object({ code: string, message: string, details: mapOf(anything) }) }),
});
export type ApiErrorBody = Holds<typeof apiError>;

/** A refusal in FastAPI's shape. */
export const plainError = object({ detail: string });

const fieldError: Shape<FieldError> = object(
  {
    type: string,
    loc: arrayOf<string | number>({ schema: { type: ["string", "integer"] } }),
    msg: string,
    input: anything,
  },
  { ctx: mapOf(anything) },
);
export const validationError = object({ detail: arrayOf(fieldError) });

/** What Node's own HTTP parser refuses, before any route sees it. */
export const protocolError = object({
  error: string,
  message: string,
  statusCode: wholeNumber,
});
