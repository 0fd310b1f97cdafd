import { Command, CommanderError } from "commander";
import { CanceledError, InputError, messageOf } from "../errors.ts";
import { TransferError } from "../net/errors.ts";
import { version } from "../version.ts";
import { addCacheCommand } from "./cache.ts";
import { addDoctorCommand } from "./doctor.ts";
import { addGenerateCommand } from "./generate.ts";
import { addKeysCommand } from "./keys.ts";
import { addLoraCommand } from "./lora.ts";
import { addModelsCommand } from "./models.ts";
import { addPullCommand } from "./pull.ts";
import { addServeCommands } from "./serve.ts";

/** 0: done. 2: bad input. 1: failure. 130: stopped by Ctrl-C, as shells expect. */
const exitCodes = { failure: 1, badInput: 2, canceled: 130 } as const;

function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : exitCodes.badInput;
  if (error instanceof CanceledError) return exitCodes.canceled;
  return error instanceof InputError ? exitCodes.badInput : exitCodes.failure;
}

const program = new Command("retake")
  .description("Run ai-toolkit LoRAs on Z-Image and get the picture that training previewed.")
  .version(version)
  .exitOverride()
  .configureHelp({ showGlobalOptions: true })
  .showSuggestionAfterError()
  .showHelpAfterError("(retake --help shows what there is)");
addGenerateCommand(program);
addPullCommand(program);
addModelsCommand(program);
addDoctorCommand(program);
addLoraCommand(program);
addServeCommands(program);
addKeysCommand(program);
addCacheCommand(program);

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = exitCodeOf(error);
  // Commander has said what was wrong already.
  if (!(error instanceof CommanderError)) {
    process.stderr.write(`error: ${messageOf(error)}\n`);
    // A network that does not work is no fault of the program.
    const isFault = process.exitCode === exitCodes.failure && !(error instanceof TransferError);
    if (isFault && error instanceof Error && error.stack) {
      process.stderr.write(
        `This is a fault in Retake; please report it with these lines:\n${error.stack}\n`,
      );
    }
  }
}
