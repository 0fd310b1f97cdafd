import { z } from "zod";

// The values that environment variables can have, all written as text.

export const flag = z
  .string()
  .toLowerCase()
  .pipe(z.enum(["1", "true", "yes", "on", "0", "false", "no", "off"]))
  .transform((word) => ["1", "true", "yes", "on"].includes(word));

export const count = z
  .string()
  .regex(/^\d+$/, "is not a whole number")
  .transform(Number)
  .pipe(z.int().min(1).max(1_000_000_000));

/** Items with commas or spaces between them. */
export const list = z
  .string()
  .transform((text) => text.split(/[\s,]+/).filter((item) => item !== ""));

/** Environment variables by their names in capitals; an empty one counts as not set. */
export function namedInCapitals(
  environment: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const given: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment)) {
    if (value !== undefined && value !== "") given[name.toUpperCase()] = value;
  }
  return given;
}

/** `model=file,model=file`. A comma parts two entries only where `name=` follows: a path may hold commas and spaces. */
export const transformerList = z.string().transform((text, context) => {
  const files = new Map<string, string>();
  for (const entry of text.split(/,(?=\s*\w+=)/)) {
    const [, model, file] = /^\s*(\w+)=(.*\S)\s*$/.exec(entry) ?? [];
    if (model === undefined || file === undefined || files.has(model)) {
      const message = `has ${JSON.stringify(entry)}; write model=file,model=file, each model once`;
      context.addIssue({ code: "custom", message });
      return z.NEVER;
    }
    files.set(model, file);
  }
  return Object.fromEntries(files);
});
