import type { Command } from "commander";
import { Option } from "commander";
import { oneLine } from "../errors.ts";
import { notWritable, writeWhole } from "../files/whole.ts";
import { exportedRequest } from "../preview/exported-request.ts";
import type { Exported, ExportedRequest } from "../tools/exported.ts";
import { toComfyui } from "../tools/to-comfyui.ts";
import { toCurl } from "../tools/to-curl.ts";
import { toDiffusers } from "../tools/to-diffusers.ts";
import { toTrainer } from "../tools/to-trainer.ts";
import { addAsTrainedOptions } from "./as-trained.ts";
import type { ExplainFlags } from "./explain.ts";
import { explained } from "./explain.ts";
import { addRequestOptions, askedRequest } from "./request-flags.ts";
import { stoppable } from "./stop-signal.ts";

const targets: Readonly<Record<string, (request: ExportedRequest) => Exported>> = {
  curl: toCurl,
  diffusers: toDiffusers,
  comfyui: toComfyui,
  "ai-toolkit": toTrainer,
};

interface ExportFlags extends ExplainFlags {
  readonly to: string;
  readonly out?: string;
}

export function addExportCommand(program: Command): void {
  const command = program
    .command("export")
    .description("write a request for another program")
    .argument(
      "[file]",
      "a picture (Retake, ComfyUI, A1111 and kin), a request or a job's configuration; without it, the flags",
    )
    .addOption(
      new Option("--to <program>", "what is written")
        .choices(Object.keys(targets))
        .makeOptionMandatory(),
    )
    .option("--out <file>", "file to write (default: print it)");
  addRequestOptions(command)
    .option("--weights <folder>", "model store, hub cache folder, hub, or demo (RETAKE_WEIGHTS)")
    .action((file: string | undefined, flags: ExportFlags) =>
      stoppable((signal) => exportRequest(file, flags, signal)),
    );
  addAsTrainedOptions(command);
}

async function exportRequest(
  file: string | undefined,
  flags: ExportFlags,
  signal: AbortSignal,
): Promise<void> {
  const asked = await askedRequest(flags, file);
  const told = await explained(asked, flags, signal);
  const { text, warnings } = targets[flags.to]!(exportedRequest(told, asked.request));
  for (const warning of [...told.explanation.warnings, ...warnings])
    process.stderr.write(`warning: ${oneLine(warning)}\n`);
  if (flags.out === undefined) {
    process.stdout.write(text);
    return;
  }
  const { out } = flags;
  await writeWhole(out, [new TextEncoder().encode(text)]).catch((error: unknown) => {
    throw notWritable(out, error);
  });
  process.stdout.write(`${out}\n`);
}
