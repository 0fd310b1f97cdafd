import type { Command } from "commander";
import { InvalidArgumentError } from "commander";
import { requestsAMinute } from "../config/variables.ts";
import { addApiKey, removeApiKey } from "../http/api-keys.ts";
import { addNeededOption, parseNumber } from "./options.ts";

/** @throws InvalidArgumentError if RETAKE_RATE_LIMIT would not take it */
function parseRate(text: string): number {
  const rate = parseNumber(text);
  const { least, most } = requestsAMinute;
  if (Number.isInteger(rate) && rate >= least && rate <= most) return rate;
  throw new InvalidArgumentError(`It takes a whole number from ${least} to ${most}.`);
}

export function addKeysCommand(program: Command): void {
  const keys = program
    .command("keys")
    .description("API keys of `retake serve`, kept in the file that RETAKE_API_KEYS names");
  const add = keys
    .command("add <name>")
    .description("make a key and print it; it can't be shown again");
  addNeededOption(add, "--file <file>", "file of keys; made if it isn't there")
    .option("--rate <count>", "requests per minute (default: RETAKE_RATE_LIMIT)", parseRate)
    .action(async (name: string, { file, rate }: { file: string; rate?: number }) => {
      process.stdout.write(`${await addApiKey(file, name, rate)}\n`);
    });
  const remove = keys
    .command("remove <name>")
    .description("take a key out; restart the server for it to notice");
  addNeededOption(remove, "--file <file>", "file of keys").action(
    (name: string, { file }: { file: string }) => removeApiKey(file, name),
  );
}
