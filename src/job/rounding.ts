import { z } from "zod";

/**
 * What rounds a matrix: `quanto` is the trainer's `qfloat8`; `torchao` its `float8`, which `qfloat8`
 * becomes beside a training adapter; the others are its types of the same names.
 */
export const roundingMethods = [
  "quanto",
  "torchao",
  "uint2",
  "uint3",
  "uint4",
  "uint5",
  "uint6",
  "uint7",
] as const;
export type RoundingMethod = (typeof roundingMethods)[number];

/** How a training rounded the weights that its previews were drawn with. */
export const roundingSchema = z.strictObject({
  /** What rounds the transformer's matrices; null: they stay in `dtype`. */
  transformer: z.enum(roundingMethods).nullable(),
  /** The same for the text encoder's. */
  textEncoder: z.enum(roundingMethods).nullable(),
  /** Whether the transformer's embedders and last layer are rounded too: until 0.10.24. */
  embedders: z.boolean(),
  /**
   * The training adapter, which is merged into the transformer before it is rounded and taken off
   * again beside it: a file's absolute path, or `owner/name/file.safetensors` of the model store.
   */
  adapter: z.string().min(1).nullable(),
  /** What the trainer held weights in: what else is wider is rounded to it, and the rounding is done in it. */
  dtype: z.enum(["bf16", "f16", "f32"]).default("bf16"),
});
export type Rounding = z.output<typeof roundingSchema>;
export type TrainDtype = Rounding["dtype"];
