import { existsSync } from "node:fs";
import { InvalidArgumentError } from "commander";

/** `FILE` or `FILE=MULTIPLIER`; a file whose own name holds "=" is taken whole. */
export function parseLoraOption(
  value: string,
  previous: { path: string; multiplier: number } | undefined,
): { path: string; multiplier: number } {
  if (previous !== undefined) {
    throw new InvalidArgumentError("One LoRA per picture: --lora was given twice.");
  }
  const cut = value.lastIndexOf("=");
  if (cut === -1 || existsSync(value)) return { path: value, multiplier: 1 };
  const text = value.slice(cut + 1).trim();
  const multiplier = Number(text);
  if (text === "" || Number.isNaN(multiplier)) {
    throw new InvalidArgumentError(`"${text}" is not a multiplier. Write FILE=0.8.`);
  }
  return { path: value.slice(0, cut), multiplier };
}
