import type { ConfigValue } from "./config-text.ts";

// What the trainer fills in when it loads a configuration. The `config.yaml` that it saves has it
// filled in; the UI's `.job_config.json`, and a file that somebody wrote, have not.

export type Environment = Readonly<Record<string, string | undefined>>;

const placeholder = /\$\{([^}]+)\}/g;

/** A job may be a stranger's, and what it draws is shown: no prompt of it may read a password. */
const secret = /token|secret|key|password|passwd|credential|auth/i;

/** `${VAR}` in the file's text, as the trainer replaces it. What is not there stays as it stands. */
export function fillVariables(text: string, environment: Environment): string {
  return text.replaceAll(placeholder, (whole, name: string) =>
    secret.test(name) || !Object.hasOwn(environment, name) ? whole : (environment[name] ?? whole),
  );
}

/** The variables that a text still waits for. */
export function openVariables(text: string): string[] {
  return [...text.matchAll(placeholder)].map(([, name]) => name!);
}

/** `[name]` in every text, keys too. */
export function fillName(value: ConfigValue, name: string): ConfigValue {
  const filled = (text: string) => text.replaceAll("[name]", () => name);
  if (typeof value === "string") return filled(value);
  if (Array.isArray(value)) return value.map((item) => fillName(item, name));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [filled(key), fillName(item, name)]),
  );
}
