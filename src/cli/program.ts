import { Command, CommanderError } from "commander";
import { CanceledError, DeviceLostError, InputError, messageOf } from "../errors.ts";
import { TransferError } from "../net/errors.ts";
import { version } from "../version.ts";

/** 0: done. 2: bad input. 1: failure. 130: stopped by Ctrl-C, as shells expect. */
const exitCodes = { failure: 1, badInput: 2, canceled: 130 } as const;

type AddCommand = (program: Command) => void;

/** In the order of the help. */
const commands: Readonly<Record<string, () => Promise<AddCommand>>> = {
  generate: async () => (await import("./generate.ts")).addGenerateCommand,
  preview: async () => (await import("./preview.ts")).addPreviewCommand,
  explain: async () => (await import("./explain.ts")).addExplainCommand,
  export: async () => (await import("./export.ts")).addExportCommand,
  pull: async () => (await import("./pull.ts")).addPullCommand,
  models: async () => (await import("./models.ts")).addModelsCommand,
  bench: async () => (await import("./bench.ts")).addBenchCommand,
  doctor: async () => (await import("./doctor.ts")).addDoctorCommand,
  lora: async () => (await import("./lora.ts")).addLoraCommand,
  compare: async () => (await import("./compare.ts")).addCompareCommand,
  serve: async () => (await import("./serve.ts")).addServeCommand,
  worker: async () => (await import("./serve.ts")).addWorkerCommand,
  keys: async () => (await import("./keys.ts")).addKeysCommand,
  cache: async () => (await import("./cache.ts")).addCacheCommand,
};

/** What a command needs takes a while to load: the others are loaded only for the help and for typos. */
const [, , name = ""] = process.argv;
const asked = Object.hasOwn(commands, name) ? [commands[name]!] : Object.values(commands);

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
for (const add of await Promise.all(asked.map((load) => load()))) add(program);

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = exitCodeOf(error);
  // Commander has said what was wrong already.
  if (!(error instanceof CommanderError)) {
    process.stderr.write(`error: ${messageOf(error)}\n`);
    // A network or a device that does not work is no fault of the program.
    const isOthers = error instanceof TransferError || error instanceof DeviceLostError;
    const isFault = process.exitCode === exitCodes.failure && !isOthers;
    if (isFault && error instanceof Error && error.stack) {
      process.stderr.write(
        `This is a fault in Retake; please report it with these lines:\n${error.stack}\n`,
      );
    }
  }
}
