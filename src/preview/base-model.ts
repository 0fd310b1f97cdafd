import { basename } from "node:path";
import { InputError } from "../errors.ts";
import { idOfName } from "../models/id-of-name.ts";
import { models } from "../models/registry.ts";
import type { JobConfig } from "./job-config.ts";

/** The model that a job trained on. */
export interface BaseModel {
  /** `zimage`, `zimage_turbo` or `zimage_deturbo`. */
  readonly id: string;
  /** How that was found out, where the configuration does not name the hub's repository. */
  readonly guess: string | null;
}

/** The tags of the UI's menu. */
const idOfTag: Readonly<Record<string, string>> = {
  turbo: "zimage_turbo",
  deturbo: "zimage_deturbo",
};

/**
 * Weights are where `name_or_path` says; `arch` names the code that runs them, with a tag for the UI.
 *
 * @throws InputError for a model that is not of the Z-Image family
 */
export function baseModelOf({ model, name }: JobConfig): BaseModel {
  const { nameOrPath, arch } = model;
  const [family = "", tag = ""] = (arch ?? "").split(":");
  const repository = nameOrPath?.replace(/\/+$/, "") ?? "";
  const known = models.find(
    ({ transformerRepository }) => transformerRepository.toLowerCase() === repository.toLowerCase(),
  );
  if (family !== "zimage") {
    throw new InputError(
      `The job ${name} trained ${arch === null ? "a model without an arch" : `arch ${arch}`}` +
        `${nameOrPath === null ? "" : ` (${basename(nameOrPath)})`}, and Retake draws Z-Image: zimage, zimage:turbo and zimage:deturbo.`,
    );
  }
  if (known !== undefined) return { id: known.id, guess: null };
  const file = basename(repository) || "nothing";
  if (Object.hasOwn(idOfTag, tag)) {
    return { id: idOfTag[tag]!, guess: `its weights were ${file}, and its arch is ${arch}` };
  }
  const id = idOfName(repository);
  return { id, guess: `its weights were ${file}, of which only the name tells the model` };
}
