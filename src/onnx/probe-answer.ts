import { z } from "zod";

/** What is known of a device that could be opened. */
const deviceFactsSchema = z.strictObject({
  /** Of the card or the adapter; null: nobody tells. */
  name: z.string().nullable(),
  /** Version of its driver, or the file that it lies in. */
  driver: z.string().nullable(),
  /** A processor that plays a GPU; null: nobody tells. */
  isSoftware: z.boolean().nullable(),
  /** All of it, used or not; null: nobody tells. */
  memoryBytes: z.number().nullable(),
  /** The memory is the machine's own, which other programs need too. */
  isShared: z.boolean(),
  /** Whether f16 weights can be widened on it. */
  f16: z.boolean(),
  /** Whether com.microsoft.MultiHeadAttention is right on it. */
  fusedAttention: z.boolean(),
  /** Of the largest tensor that it was seen to take; null: no limit but its memory. */
  maxBufferBytes: z.number().nullable(),
});
export type DeviceFacts = z.output<typeof deviceFactsSchema>;

/** An argument of the probing process: software adapters are not worth more questions. */
export const hardware = "hardware";

/** What the probing process says meanwhile. */
export const alive = "alive";

export const probeAnswerSchema = z.strictObject({
  /** Why the device can't be used; null: it can. */
  problem: z.string().nullable(),
  /** null where it could not even be opened. */
  facts: deviceFactsSchema.nullable(),
});
export type ProbeAnswer = z.output<typeof probeAnswerSchema>;
