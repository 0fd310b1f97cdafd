import { z } from "zod";
import {
  jobEventSchema,
  jobFailureSchema,
  jobKinds,
  jobResultSchema,
  jobSchema,
  jobStates,
} from "../job/job.ts";

const rowSchema = z.object({
  id: z.uuid(),
  state: z.enum(jobStates),
  owner: z.string(),
  priority: z.int(),
  job: jobSchema,
  extra: z.record(z.string(), z.json()),
  created_at: z.date(),
  started_at: z.date().nullable(),
  finished_at: z.date().nullable(),
  attempt: z.int(),
  cancel_requested: z.boolean(),
  progress: jobEventSchema.nullable(),
  result: jobResultSchema.nullable(),
  failure: jobFailureSchema.nullable(),
  /** See TokenSeal; null when the request ends. */
  sealed_token: z.string().nullable(),
});

/** An accepted request, as the database holds it. */
export type RequestRecord = Readonly<z.output<typeof rowSchema>>;

export const recordColumns = Object.keys(rowSchema.shape).join(", ");

export function parseRecord(row: unknown): RequestRecord {
  return rowSchema.parse(row);
}

const statusSchema = rowSchema
  .pick({
    id: true,
    state: true,
    owner: true,
    created_at: true,
    started_at: true,
    finished_at: true,
    progress: true,
  })
  .extend({
    kind: z.enum(jobKinds),
    model: z.string(),
    /** How many pictures it asks for. */
    prompts: z.int(),
    /** Pictures that were finished before are left out. */
    failure: z.object({ message: z.string() }).nullable(),
  });

/** How a request stands, without what it asks for and what came of it. */
export type RequestStatus = Readonly<z.output<typeof statusSchema>>;

export const statusColumns = Object.keys(statusSchema.shape).join(", ");

export function parseStatus(row: unknown): RequestStatus {
  return statusSchema.parse(row);
}

/** States that never change again. */
export function isFinal({ state }: Pick<RequestRecord, "state">): boolean {
  return state === "succeeded" || state === "failed" || state === "canceled";
}
