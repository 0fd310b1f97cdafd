import { opendir } from "node:fs/promises";
import { join } from "node:path";
import { InputError, messageOf } from "../errors.ts";
import { realInside } from "../files/inside.ts";
import { readLora } from "../lora/file.ts";
import { readLoraInfo } from "../lora/info.ts";
import type { Dtype } from "../tensor/dtype.ts";
import { loraLimits } from "../weights/header-limits.ts";
import { readSafetensors } from "../weights/safetensors.ts";

/** A LoRA that the trainer saved. */
export interface TrainedLora {
  /** Its name in the job's folder. */
  readonly file: string;
  /** Real, absolute path. */
  readonly path: string;
  /** By its header, not by its name; null where it does not say. */
  readonly step: number | null;
  /** What its header says of the trainer. */
  readonly trainer: string | null;
  readonly trainerVersion: string | null;
  /** As its header names them. */
  readonly triggerWords: readonly string[];
  /** Each that its tensors have. */
  readonly dtypes: readonly Dtype[];
  /** Why it can't be used, or null. */
  readonly unusable: string | null;
}

/** Each header takes some milliseconds. */
const mostLoras = 2000;

/**
 * @param root of the job, a real path
 * @param only the file of this name; null: all
 */
export async function readTrainedLoras(
  root: string,
  only: string | null,
): Promise<{ loras: TrainedLora[]; notes: string[] }> {
  const loras: TrainedLora[] = [];
  const notes: string[] = [];
  for await (const { name } of await opendir(root)) {
    if (!name.endsWith(".safetensors") || (only !== null && name !== only)) continue;
    const path = await realInside(root, join(root, name));
    if (path === undefined) {
      notes.push(`${name} leads out of the folder and was left out`);
      continue;
    }
    if (loras.length === mostLoras) {
      throw new InputError(
        `The job's folder has more than ${mostLoras} .safetensors files. Move some elsewhere.`,
      );
    }
    loras.push(await readTrainedLora(name, path));
  }
  return { loras: loras.toSorted((a, b) => (a.file < b.file ? -1 : 1)), notes };
}

/** @param path real, absolute */
async function readTrainedLora(file: string, path: string): Promise<TrainedLora> {
  const withoutPath = (error: unknown) => messageOf(error).replaceAll(path, file);
  let header: Awaited<ReturnType<typeof readSafetensors>>;
  try {
    header = await readSafetensors(path, loraLimits);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    const unknown = { trainer: null, trainerVersion: null, triggerWords: [], dtypes: [] };
    return { file, path, step: stepOfName(file), ...unknown, unusable: withoutPath(error) };
  }
  const { step, trainer, trainerVersion, triggerWords } = readLoraInfo(header.metadata);
  const dtypes = [...new Set([...header.tensors.values()].map(({ dtype }) => dtype))];
  const unusable = await readLora(path).then(
    () => null,
    (error: unknown) => {
      if (!(error instanceof InputError)) throw error;
      return withoutPath(error);
    },
  );
  return { file, path, step, trainer, trainerVersion, triggerWords, dtypes, unusable };
}

/** Only for a file whose header can't be read: it says which pictures lost their LoRA. */
function stepOfName(file: string): number | null {
  const digits = /_(\d{9,12})\.safetensors$/.exec(file)?.[1];
  return digits === undefined ? null : Number(digits);
}
