import { parseEnv } from "node:util";
import { InputError } from "../errors.ts";
import { serverVariables } from "./variables.ts";

/**
 * The variables of a `.env` file: `NAME=value`, with or without `export`, quotes and `#` comments.
 * Lines with other names are for other programs.
 *
 * @param file names it in errors
 * @throws InputError if a line that sets one of our variables can't be read as it was meant
 */
export function parseEnvFile(text: string, file: string): Record<string, string> {
  const read = parseEnv(text);
  const parsed: Record<string, string> = {};
  for (const [name, value] of Object.entries(read)) {
    if (value !== undefined) parsed[name] = value;
  }
  for (const [, name = "", rest = ""] of text.matchAll(
    /^[^\S\n]*(?:export[^\S\n]+)?(\w+)[^\S\n]*([=:].*)$/gm,
  )) {
    if (!Object.hasOwn(serverVariables, name.toUpperCase())) continue;
    if (rest.startsWith(":") && parsed[name] === undefined)
      throw new InputError(`${file}: ${name} is followed by a colon. Write ${name}=value.`);
    // What follows a closing quote would be dropped without a word.
    const [, quote, behind = ""] = /^=\s*(["'`])[^"'`]*\1[^\S\n]*(.*)$/.exec(rest) ?? [];
    if (quote !== undefined && behind !== "" && !behind.startsWith("#"))
      throw new InputError(
        `${file}: something follows the closing quote of ${name}. Take another kind of quotes around the whole value.`,
      );
  }
  return parsed;
}
