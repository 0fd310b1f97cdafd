import { existsSync } from "node:fs";
import { InvalidArgumentError } from "commander";

interface LoraOption {
  readonly path: string;
  readonly multiplier: number;
}

/** `FILE` or `FILE=MULTIPLIER`, once for each LoRA; a file whose own name holds "=" is taken whole. */
export function parseLoraOption(value: string, previous: LoraOption[] = []): LoraOption[] {
  const cut = value.lastIndexOf("=");
  if (cut === -1 || existsSync(value)) return [...previous, { path: value, multiplier: 1 }];
  const text = value.slice(cut + 1).trim();
  const multiplier = Number(text);
  if (text === "" || Number.isNaN(multiplier)) {
    throw new InvalidArgumentError(`"${text}" is not a multiplier. Write FILE=0.8.`);
  }
  return [...previous, { path: value.slice(0, cut), multiplier }];
}
