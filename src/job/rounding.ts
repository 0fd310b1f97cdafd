import { z } from "zod";

/**
 * How a quantised training rounded the weights that its previews were drawn with. The trainer
 * holds everything in bf16 then, so whatever is wider is rounded to bf16 as well.
 */
export const roundingSchema = z.strictObject({
  /**
   * What rounds the transformer's matrices to 8 bits: `quanto` is the trainer's `qfloat8`,
   * `torchao` its `float8`, which `qfloat8` becomes beside a training adapter; null: they stay bf16.
   */
  transformer: z.enum(["quanto", "torchao"]).nullable(),
  /** The same for the text encoder's. */
  textEncoder: z.enum(["quanto", "torchao"]).nullable(),
  /** Whether the transformer's embedders and last layer are rounded too: until 0.10.24. */
  embedders: z.boolean(),
  /**
   * The training adapter, which is merged into the transformer before it is rounded and taken off
   * again beside it: a file's absolute path, or `owner/name/file.safetensors` of the model store.
   */
  adapter: z.string().min(1).nullable(),
});
export type Rounding = z.output<typeof roundingSchema>;
