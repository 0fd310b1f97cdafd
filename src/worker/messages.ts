import { z } from "zod";
import { devices, modelOptionsSchema } from "../config/model-options.ts";
import { jobEventSchema, jobFailureSchema, jobResultSchema, jobSchema } from "../job/job.ts";
import { stages } from "./stages.ts";

/** What a worker process needs to know when it starts; it gets no other environment of ours. */
const workerOptionsSchema = modelOptionsSchema.extend({
  device: z.enum(devices),
  /** Why that device, for results; null: the operator named it. */
  deviceReason: z.string().nullable(),
  /** Files to take transformers from, by model id. */
  transformers: z.record(z.string(), z.string()),
  outputFolder: z.string(),
  /** Bytes of weights that pipelines may hold together. */
  memoryBudget: z.number(),
  /** Pixels times steps of a picture that a job folder may ask for. */
  pixelSteps: z.number(),
});
export type WorkerOptions = z.output<typeof workerOptionsSchema>;

/** Code of a failure after which a run may be tried again, in another process: what lay on the device is gone. */
export const deviceLost = "DEVICE_LOST";

/** From the server to its worker process. */
export const toWorkerSchema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("start"), options: workerOptionsSchema }),
  z.strictObject({
    type: z.literal("run"),
    job: jobSchema,
    /** Where what the job names lies on this machine: its LoRAs in their order; or its folder, and one to make a report in. */
    paths: z.array(z.string()),
  }),
  z.strictObject({ type: z.literal("cancel") }),
]);
export type ToWorker = z.output<typeof toWorkerSchema>;

/** From a worker process to its server. */
export const fromWorkerSchema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("ready") }),
  z.strictObject({ type: z.literal("stage"), stage: z.enum(stages) }),
  z.strictObject({ type: z.literal("event"), event: jobEventSchema }),
  z.strictObject({ type: z.literal("result"), result: jobResultSchema }),
  z.strictObject({ type: z.literal("failure"), failure: jobFailureSchema }),
  /** A line for the server's log, never for a client. */
  z.strictObject({
    type: z.literal("log"),
    level: z.enum(["info", "warn"]),
    fields: z.record(z.string(), z.json()),
    message: z.string(),
  }),
]);
export type FromWorker = z.output<typeof fromWorkerSchema>;
