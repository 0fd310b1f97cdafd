import type { Command } from "commander";
import { Option } from "commander";
import type { Quantize, Storage } from "../config/model-options.ts";
import { quantizeKinds, storages } from "../config/model-options.ts";
import { oneLine } from "../errors.ts";
import type { OpenOptions } from "../pipeline/open.ts";

export interface StorageFlags {
  readonly storage?: Storage;
  readonly quantize?: Quantize;
}

export function addStorageOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        "--storage <kind>",
        "hold the transformer as stored, in f32, in f16 or in 8 bits; auto: as the device has room (RETAKE_STORAGE)",
      ).choices(storages),
    )
    .addOption(
      new Option("--quantize <kind>", "the older name of --storage (RETAKE_QUANTIZE)").choices(
        quantizeKinds,
      ),
    );
}

/** By the variables that they stand for. */
export function storageVariables({ storage, quantize }: StorageFlags) {
  return { RETAKE_STORAGE: storage, RETAKE_QUANTIZE: quantize };
}

/** Says how weights are held before they are loaded; nothing where a CPU runs them as stored. */
export const sayStorage: NonNullable<OpenOptions["onStorage"]> = ({
  storage,
  device,
  reason,
  insteadOf,
}) => {
  if (device === "cpu" && storage === "original" && insteadOf === null) return;
  process.stderr.write(`storage ${storage} on ${device}: ${oneLine(insteadOf ?? reason)}\n`);
};
