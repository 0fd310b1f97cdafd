import { z } from "zod";
import { askedProfileNames, mostLoras, profileNames } from "./request.ts";
import { seedTextSchema } from "./seed.ts";

// What passes between the API, the queue and the workers. All of it is plain JSON.

/** `canceled` has one l, as in the reference's API. The last three are final. */
export const jobStates = ["in_queue", "in_progress", "succeeded", "failed", "canceled"] as const;
export type JobState = (typeof jobStates)[number];

export const imageFormats = ["jpeg", "png", "webp"] as const;

/** One picture to make. What is null takes the model's default. */
const jobPromptSchema = z.strictObject({
  prompt: z.string(),
  negativePrompt: z.string(),
  triggerWord: z.string().nullable(),
  width: z.int().nullable(),
  height: z.int().nullable(),
  steps: z.int().nullable(),
  guidanceScale: z.number().nullable(),
  /** Drawn when the request was accepted, so that a second run makes the same picture. */
  seed: seedTextSchema,
});

const pictureJobSchema = z.strictObject({
  kind: z.literal("pictures"),
  id: z.uuid(),
  model: z.string(),
  /** Paths under the LoRA folder, links or uploads, as the client gave them. */
  loras: z.array(z.strictObject({ path: z.string(), multiplier: z.number() })).max(mostLoras),
  prompts: z.array(jobPromptSchema).min(1),
  /** The weights are rounded as the trainer's page has jobs quantised; the first LoRA tells its version. */
  asTrained: z.boolean().default(false),
  profile: z.enum(askedProfileNames),
  format: z.enum(imageFormats),
  /** A small picture every so many steps; null for none. */
  previewEvery: z.int().min(1).nullable(),
});
export type PictureJob = z.output<typeof pictureJobSchema>;

/** What is taken again of a training's job folder, and how. What is left out is left to the folder. */
const retakeOptionsSchema = z.strictObject({
  /** Training steps and places in the config's list of samples; all of them without. */
  steps: z.array(z.int().min(0)).exactOptional(),
  samples: z.array(z.int().min(0)).exactOptional(),
  era: z.enum(profileNames).exactOptional(),
  asTrained: z.boolean().exactOptional(),
});
export type RetakeOptions = z.output<typeof retakeOptionsSchema>;

/** Where a training's job folder is. */
const jobSourceSchema = z.discriminatedUnion("from", [
  /** Below the LoRA folder, as the client gave it. */
  z.strictObject({ from: z.literal("disk"), folder: z.string() }),
  /** Uploaded, with the name that it was given. */
  z.strictObject({ from: z.literal("upload"), upload: z.uuid(), name: z.string() }),
]);
export type JobSource = z.output<typeof jobSourceSchema>;

const retakeJobSchema = z.strictObject({
  kind: z.literal("retake"),
  id: z.uuid(),
  model: z.string(),
  source: jobSourceSchema,
  /** Previews that the folder held when the request was accepted. */
  previews: z.int().min(0),
  options: retakeOptionsSchema,
  /** How long new pictures are begun, in seconds; null: as long as a run may take. */
  limitSeconds: z.number().nullable(),
});
export type RetakeJob = z.output<typeof retakeJobSchema>;

/** One accepted request: what a worker needs and nothing else. No token is ever part of it. */
export const jobSchema = z.discriminatedUnion("kind", [pictureJobSchema, retakeJobSchema]);
export type Job = z.output<typeof jobSchema>;

export const jobKinds = ["pictures", "retake"] as const satisfies readonly Job["kind"][];
export type JobKind = (typeof jobKinds)[number];

/** How many pictures a job makes, as far as that is known before it runs. */
export function picturesOf(job: Job): number {
  return job.kind === "pictures" ? job.prompts.length : job.previews;
}

/** A finished picture. `file` is a name in the result store, never a path. */
const jobImageSchema = z.strictObject({
  promptIndex: z.int().min(0),
  format: z.enum(imageFormats),
  width: z.int(),
  height: z.int(),
  seed: seedTextSchema,
  file: z.string(),
  bytes: z.int().min(0),
  /** What the picture was really made with: snapped size, sigmas, guidance in both meanings, hashes; its seed is above. */
  effective: z.record(z.string(), z.json()),
});
export type JobImage = z.output<typeof jobImageSchema>;

export const jobResultSchema = z.strictObject({
  images: z.array(jobImageSchema),
  /** Seconds, in the reference's names: get_pipeline, inference_total, prompts[], pipeline_details. */
  timings: z.record(z.string(), z.json()),
  inferenceTime: z.number(),
});
export type JobResult = z.output<typeof jobResultSchema>;

/** Why a job ended without its result. Finished pictures are kept. */
export const jobFailureSchema = z.strictObject({
  code: z.string(),
  /** For the user: free of tokens and of this machine's paths. */
  message: z.string(),
  promptIndex: z.int().min(0).nullable(),
  images: z.array(jobImageSchema),
  /** Whether the page of a report on retakes was written; its data is there from the first picture on. */
  page: z.boolean().exactOptional(),
});
export type JobFailure = z.output<typeof jobFailureSchema>;

/** A preview that was taken again, as far as a reader wants to know before the report. */
const jobRetakeSchema = z.strictObject({
  /** In the job folder; null: there is none. */
  preview: z.string().nullable(),
  /** Of the training. */
  step: z.int(),
  /** Of the sample in the configuration. */
  index: z.int(),
  verdict: z.string(),
  psnr: z.number().nullable(),
  /** A name in the result store; null: nothing could be drawn. */
  file: z.string().nullable(),
});
export type JobRetake = z.output<typeof jobRetakeSchema>;

/** What a running job tells; events are kept in order and numbered from 1 per request. */
export const jobEventSchema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("state"), state: z.enum(jobStates) }),
  z.strictObject({
    type: z.literal("progress"),
    promptIndex: z.int().min(0),
    /** Steps done of this prompt. */
    step: z.int().min(0),
    total: z.int().min(0),
    /** Of the whole request; null until a step was timed. */
    secondsLeft: z.number().nullable(),
    /** How many pictures there are, where that is known only now. */
    prompts: z.int().min(0).exactOptional(),
  }),
  z.strictObject({
    type: z.literal("preview"),
    promptIndex: z.int().min(0),
    step: z.int().min(1),
    file: z.string(),
  }),
  z.strictObject({ type: z.literal("image"), image: jobImageSchema }),
  z.strictObject({ type: z.literal("retake"), retake: jobRetakeSchema }),
]);
export type JobEvent = z.output<typeof jobEventSchema>;

/** A job that ended without its result. */
export class JobError extends Error {
  override readonly name = "JobError";
  readonly failure: JobFailure;
  /** Another run may go well: the worker died, not the job. */
  readonly retryable: boolean;

  constructor(failure: JobFailure, retryable: boolean, options?: ErrorOptions) {
    super(failure.message, options);
    this.failure = failure;
    this.retryable = retryable;
  }
}
