import { existsSync } from "node:fs";
import { InvalidArgumentError } from "commander";
import { isLoraLink } from "../lora-source/link.ts";

/**
 * `FILE` or `FILE=MULTIPLIER`, and the same with a link. A file whose own name
 * holds "=" is taken whole, and so is a link's query: behind one, `#=MULTIPLIER`.
 */
export function parseLoraOption(
  value: string,
  previous: { path: string; multiplier: number } | undefined,
): { path: string; multiplier: number } {
  if (previous !== undefined) {
    throw new InvalidArgumentError("One LoRA per picture: --lora was given twice.");
  }
  const cut = value.lastIndexOf("=");
  const inQuery = isLoraLink(value) && /\?[^#]*$/.test(value);
  if (cut === -1 || inQuery || existsSync(value)) return { path: value, multiplier: 1 };
  const text = value.slice(cut + 1).trim();
  const multiplier = Number(text);
  if (text === "" || Number.isNaN(multiplier)) {
    throw new InvalidArgumentError(`"${text}" is not a multiplier. Write FILE=0.8.`);
  }
  return { path: value.slice(0, cut), multiplier };
}
