import { existsSync } from "node:fs";
import type { Command } from "commander";
import { InvalidArgumentError, Option } from "commander";
import { isLoraLink } from "../lora-files/lora-path.ts";

/**
 * Adds an option that has to be given. Commander's `requiredOption` looks for it before it looks for
 * options that don't exist: of `--prmopt x` it says that --prompt is missing.
 */
export function addNeededOption(command: Command, flags: string, description: string): Command {
  const option = new Option(flags, description);
  return command.addOption(option).hook("preAction", () => {
    if (command.getOptionValue(option.attributeName()) === undefined)
      command.error(`error: required option '${flags}' not specified`);
  });
}

/** A number given as an option. */
export function parseNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) {
    throw new InvalidArgumentError(`"${text}" is not a number.`);
  }
  return value;
}

export interface LoraOption {
  readonly path: string;
  /** null: none was given. */
  readonly multiplier: number | null;
}

/**
 * `FILE` or `FILE=MULTIPLIER`, once for each LoRA, and the same with a link. A file
 * whose own name holds "=" is taken whole, and so is a link's query: behind one, `#=MULTIPLIER`.
 */
export function parseLoraOption(value: string, previous: LoraOption[] = []): LoraOption[] {
  const cut = value.lastIndexOf("=");
  const inQuery = isLoraLink(value) && /\?[^#]*$/.test(value);
  if (cut === -1 || inQuery || existsSync(value)) {
    return [...previous, { path: value, multiplier: null }];
  }
  const text = value.slice(cut + 1).trim();
  const multiplier = Number(text);
  if (text === "" || Number.isNaN(multiplier)) {
    throw new InvalidArgumentError(`"${text}" is not a multiplier. Write FILE=0.8.`);
  }
  return [...previous, { path: value.slice(0, cut), multiplier }];
}
