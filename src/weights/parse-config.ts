import { z } from "zod";
import { InputError } from "../errors.ts";

/**
 * A configuration, such as a component's `config.json`, as its schema reads it.
 *
 * @param kind what the file should have been, as "is not …" goes on
 * @param advice what to do, as the message ends
 * @throws InputError naming the file and each key that is missing or not supported
 */
export function parseConfig<Schema extends z.ZodType>(
  schema: Schema,
  json: unknown,
  file: string,
  kind: string,
  advice = "",
): z.output<Schema> {
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const problems = z.prettifyError(result.error).replaceAll("\n", " ");
  throw new InputError(`${file} is not ${kind}: ${problems}${advice}`);
}
