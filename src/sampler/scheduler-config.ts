import { z } from "zod";
import { InputError } from "../errors.ts";

const off = z.union([z.literal(false), z.null()]).optional();

/** `scheduler/scheduler_config.json`: a plain FlowMatchEuler schedule. What would change it is refused. */
const schema = z.object({
  _class_name: z.literal("FlowMatchEulerDiscreteScheduler"),
  num_train_timesteps: z.literal(1000).default(1000),
  shift: z.number().positive().default(1),
  use_dynamic_shifting: off,
  use_karras_sigmas: off,
  use_exponential_sigmas: off,
  use_beta_sigmas: off,
  invert_sigmas: off,
  stochastic_sampling: off,
  shift_terminal: off,
});

/** @throws InputError naming the file and each setting that is not supported. */
export function parseSchedulerConfig(json: unknown, file: string): { shift: number } {
  const result = schema.safeParse(json);
  if (!result.success) {
    throw new InputError(
      `${file} is not a schedule that Retake computes: ${z.prettifyError(result.error).replaceAll("\n", " ")}`,
    );
  }
  return { shift: result.data.shift };
}
