import { opendir, realpath, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { InputError, listed, messageOf } from "../errors.ts";
import { realInside } from "../files/inside.ts";
import { openRegular, readExactly } from "../files/read.ts";
import type { ConfigValue } from "./config-text.ts";
import { largestConfig, parseConfigText } from "./config-text.ts";
import type { JobConfig } from "./job-config.ts";
import { readJobConfig } from "./job-config.ts";
import type { Environment } from "./placeholders.ts";
import { fillName, fillVariables } from "./placeholders.ts";
import type { PreviewFile } from "./preview-files.ts";
import { findPreviews } from "./preview-files.ts";
import type { TrainedLora } from "./trained-loras.ts";
import { readTrainedLoras } from "./trained-loras.ts";

/** What the trainer left of a job. */
export interface JobFolder {
  /** Real, absolute path. */
  readonly root: string;
  readonly name: string;
  readonly config: JobConfig;
  /** Its name in the folder, `config.yaml` or `.job_config.json`, or the path that was given for it. */
  readonly configFile: string;
  readonly loras: readonly TrainedLora[];
  /** In the order in which they were saved. */
  readonly previews: readonly PreviewFile[];
  /** Where one file of the folder was named, and not the folder: its name there. */
  readonly only: { readonly lora: string } | { readonly preview: string } | null;
  /** What of the folder was left out, and why. */
  readonly notes: readonly string[];
}

export interface JobFolderOptions {
  /** A configuration to take in place of the folder's own. */
  readonly config?: string;
  /** What `${VAR}` stands for in a configuration that the trainer has not saved itself. */
  readonly environment?: Environment;
}

/** As the trainer saves it: nothing in it is left to fill in. */
const savedConfig = "config.yaml";
/** As the UI starts a job. */
const uiConfig = ".job_config.json";

/**
 * Reads a job: its configuration, the headers of its LoRAs and the names of its previews. Links that
 * lead out of the folder are not followed.
 *
 * @param target the job's folder, a LoRA in it, or one of its previews
 * @throws InputError naming what is missing or can't be read
 */
export async function readJobFolder(
  target: string,
  options: JobFolderOptions = {},
): Promise<JobFolder> {
  const { root, only } = await placeOf(target);
  const { value, configFile } = await readConfig(root, options);
  const config = readJobConfig(value, configFile);
  // A LoRA with a configuration of its own may lie among hundreds that are no job's.
  const alone = only !== null && "lora" in only && options.config !== undefined ? only.lora : null;
  const { loras, notes: ofLoras } = await readTrainedLoras(root, alone);
  const pictures = alone === null ? root : await rootOfPictures(root, options.config!);
  const { previews, notes: ofPreviews } = await findPreviews(pictures, config);
  return {
    root,
    name: config.name,
    config,
    configFile,
    loras,
    previews,
    only,
    notes: [...ofLoras, ...ofPreviews],
  };
}

/** The pictures beside the LoRA, or else those beside the configuration. */
async function rootOfPictures(root: string, config: string): Promise<string> {
  const own = await realInside(root, join(root, "samples"));
  return own === undefined ? dirname(await realpath(config)) : root;
}

/**
 * A job's configuration alone, from wherever it lies.
 *
 * @param name of the file, where it lies under another for now: its ending tells JSON from YAML
 * @throws InputError naming the file and what is wrong
 */
export async function readConfigFile(
  file: string,
  environment: Environment,
  name: string = file,
): Promise<JobConfig> {
  return readJobConfig(filled(await readText(file), name, environment), name);
}

async function placeOf(target: string): Promise<Pick<JobFolder, "root" | "only">> {
  let real: string;
  try {
    real = await realpath(target);
  } catch (error) {
    throw new InputError(
      `${target} can't be opened: ${whyNotOpen(error)}. Name the folder that the trainer wrote, output/NAME.`,
      { cause: error },
    );
  }
  if ((await stat(real)).isDirectory()) {
    // Who is in the folder already names the pictures' one.
    if (basename(real) === "samples" && !(await hasConfig(real))) {
      return { root: dirname(real), only: null };
    }
    return { root: real, only: null };
  }
  const name = basename(real);
  if (name.endsWith(".safetensors")) return { root: dirname(real), only: { lora: name } };
  if (basename(dirname(real)) === "samples") {
    return { root: dirname(dirname(real)), only: { preview: `samples/${name}` } };
  }
  throw new InputError(
    `${target} is no job: name the folder that the trainer wrote, a .safetensors file in it, or a picture in its samples/.`,
  );
}

function whyNotOpen(error: unknown): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "ENOENT" || code === "ENOTDIR") return "there is no such file or folder";
  return code === "EACCES" ? "you may not read it" : messageOf(error);
}

async function hasConfig(folder: string): Promise<boolean> {
  const places = [savedConfig, uiConfig].map((name) => realInside(folder, join(folder, name)));
  return (await Promise.all(places)).some((place) => place !== undefined);
}

async function readConfig(
  root: string,
  { config, environment = {} }: JobFolderOptions,
): Promise<{ value: ConfigValue; configFile: string }> {
  if (config !== undefined) {
    return { value: filled(await readText(config), config, environment), configFile: config };
  }
  const saved = await realInside(root, join(root, savedConfig));
  if (saved !== undefined) {
    const value = parseConfigText(await readText(saved), savedConfig);
    return { value, configFile: savedConfig };
  }
  const ui = await realInside(root, join(root, uiConfig));
  if (ui !== undefined) {
    return { value: filled(await readText(ui), uiConfig, environment), configFile: uiConfig };
  }
  const jobs = await jobsIn(root);
  if (jobs.length > 0) {
    throw new InputError(`${root} is no job, it holds some. Name one of them: ${listed(jobs)}.`);
  }
  throw new InputError(
    `${root} has neither ${savedConfig} nor ${uiConfig}, which say what its previews show. ` +
      "Name the folder that the trainer wrote, or put the job's configuration into this one (on the command line, --config names it).",
  );
}

/** Of a folder's folders so many are looked into. */
const mostLookedInto = 1000;

/** The trainer's output folder holds jobs: their names in it. */
async function jobsIn(folder: string): Promise<string[]> {
  const jobs: string[] = [];
  let left = mostLookedInto;
  for await (const entry of await opendir(folder)) {
    if (--left < 0) break;
    if (entry.isDirectory() && (await hasConfig(join(folder, entry.name)))) jobs.push(entry.name);
  }
  return jobs.toSorted();
}

/** A configuration that the trainer has not saved itself, with what it fills in. */
export function filled(text: string, file: string, environment: Environment): ConfigValue {
  const value = parseConfigText(fillVariables(text, environment), file);
  return fillName(value, nameIn(value) ?? "[name]");
}

function nameIn(value: ConfigValue): string | undefined {
  if (typeof value !== "object" || value === null || !("config" in value)) return undefined;
  const { config } = value;
  if (typeof config !== "object" || config === null || !("name" in config)) return undefined;
  return typeof config.name === "string" ? config.name : undefined;
}

/** UTF-8, as Python opens it. */
async function readText(path: string): Promise<string> {
  const { handle, size } = await openRegular(path, "job's configuration");
  try {
    if (size > largestConfig) {
      throw new InputError(
        `${path} has ${size} bytes, and a job's configuration at most ${largestConfig}. Give the right file.`,
      );
    }
    const bytes = new Uint8Array(size);
    await readExactly(handle, bytes, 0, path);
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(`${path} is not UTF-8 text: ${messageOf(error)}.`, { cause: error });
  } finally {
    await handle.close();
  }
}
