import { resolve } from "node:path";
import type { Command } from "commander";
import { InputError } from "../errors.ts";
import type { GenerateRequest } from "../job/request.ts";
import type { Rounding } from "../job/rounding.ts";
import { readLora } from "../lora/file.ts";
import { eraOfHeader } from "../models/eras.ts";
import { usualRounding } from "../models/rounding-for.ts";
import { baseModelOf } from "../preview/base-model.ts";
import { readConfigFile } from "../preview/job-folder.ts";
import { roundingOf } from "../preview/rounding-of.ts";

export interface AsTrainedFlags {
  readonly asTrained?: boolean | string;
  readonly trainingAdapter?: string;
}

export function addAsTrainedOptions(command: Command): void {
  command
    .option(
      "--as-trained [config]",
      "round the weights as ai-toolkit's quantised jobs do: as its page sets them up, or as a job's configuration says",
    )
    .option("--no-as-trained", "leave weights as they are stored, whatever the file of --from says")
    .option(
      "--training-adapter <file>",
      "with --as-trained: the training adapter (default: the job's, or Turbo's, from the model store)",
    );
}

/**
 * How the weights are to be rounded; the first LoRA's header says by which version of the trainer.
 *
 * @returns undefined where nothing is to be rounded
 * @throws InputError if the flags contradict each other, or the LoRA or the configuration can't be used
 */
export async function roundingOfFlags(
  { asTrained, trainingAdapter }: AsTrainedFlags,
  model: string,
  { loras }: Pick<GenerateRequest, "loras">,
): Promise<Rounding | undefined> {
  if (asTrained === undefined || asTrained === false) {
    if (trainingAdapter === undefined) return undefined;
    throw new InputError(
      "--training-adapter: it acts with --as-trained alone. Give both, or neither.",
    );
  }
  const version = await versionOf(loras);
  const adapter = trainingAdapter === undefined ? null : resolve(trainingAdapter);
  if (asTrained === true) return usualRounding(model, version, adapter);
  const rounding = await roundingOfConfig(asTrained, model, version, adapter ?? undefined);
  if (adapter === null || rounding.adapter !== null) return rounding;
  throw new InputError(
    `--training-adapter: the job of ${asTrained} quantised no transformer beside one. Leave it away.`,
  );
}

/** Of the trainer of the first LoRA; null: it does not say. */
async function versionOf([first]: GenerateRequest["loras"]): Promise<string | null> {
  if (first === undefined) return null;
  const era = eraOfHeader((await readLora(first.path)).info);
  return "none" in era ? null : era.version;
}

async function roundingOfConfig(
  file: string,
  model: string,
  version: string | null,
  trainingAdapter: string | undefined,
): Promise<Rounding> {
  const config = await readConfigFile(file, process.env);
  const { id } = baseModelOf(config);
  if (id !== model) {
    throw new InputError(`--as-trained ${file}: that job trained ${id}. Give --model ${id}.`);
  }
  const wish = { asTrained: true, trainingAdapter };
  const { rounding, reason } = roundingOf(config, id, { version, embedders: null }, wish);
  if (rounding !== null) return rounding;
  throw new InputError(
    `--as-trained ${file}: nothing can be rounded as in that job, because ${reason}. Leave --as-trained away.`,
  );
}
