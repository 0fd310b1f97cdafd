import { resolve } from "node:path";
import type { Command } from "commander";
import type { Quantize } from "../config/model-options.ts";
import { InputError } from "../errors.ts";
import type { GenerateRequest } from "../job/request.ts";
import type { Rounding } from "../job/rounding.ts";
import { readLora } from "../lora/file.ts";
import { usualRounding } from "../models/rounding-for.ts";

export interface AsTrainedFlags {
  readonly asTrained?: boolean;
  readonly trainingAdapter?: string;
}

export function addAsTrainedOptions(command: Command): void {
  command
    .option(
      "--as-trained",
      "round transformer and text encoder as ai-toolkit's qfloat8 does, as in the previews of the jobs that its page makes",
    )
    .option("--no-as-trained", "leave weights as they are stored, whatever the file of --from says")
    .option(
      "--training-adapter <file>",
      "with --as-trained: the training adapter (default: Turbo's, from the model store)",
    );
}

/**
 * How the weights are to be rounded; the first LoRA's header says by which version of the trainer.
 *
 * @throws InputError if the flags contradict each other or the LoRA can't be read
 */
export async function roundingOfFlags(
  { asTrained, trainingAdapter }: AsTrainedFlags,
  model: string,
  { loras }: Pick<GenerateRequest, "loras">,
  quantize: "none" | Quantize,
): Promise<Rounding | undefined> {
  if (asTrained !== true) {
    if (trainingAdapter === undefined) return undefined;
    throw new InputError(
      "--training-adapter: it acts with --as-trained alone. Give both, or neither.",
    );
  }
  if (quantize !== "none") {
    throw new InputError(
      `--as-trained: the transformer is to be rounded to ${quantize} too. Leave --quantize ${quantize} (RETAKE_QUANTIZE) away, or --as-trained.`,
    );
  }
  const [first] = loras;
  const { trainerVersion } =
    first === undefined ? { trainerVersion: null } : (await readLora(first.path)).info;
  const adapter = trainingAdapter === undefined ? null : resolve(trainingAdapter);
  return usualRounding(model, trainerVersion, adapter);
}
