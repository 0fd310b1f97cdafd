import { existsSync } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { InputError, MissingFileError, messageOf } from "../errors.ts";
import { demoWeights } from "../paths.ts";
import { findDuplicateKey } from "./duplicate-keys.ts";

/** JSON files of a repository are small; the largest is a tokenizer of 11 MB. */
const largestJson = 64 * 1024 * 1024;

/** A repository and the model that needs it, for messages that say how to fetch it. */
export interface Source {
  readonly repository: string;
  readonly model: string;
}

/** What to do about a repository that is not whole. */
export function fetchAgain({ repository, model }: Source): string {
  return `Fetch ${repository} again: retake pull ${model}, with the same --weights.`;
}

/**
 * The folder of a hub repository in a model store: a folder with the hub's names
 * (`owner/name/`), or a hub cache (`models--owner--name/snapshots/...`).
 *
 * @param weights the store's folder, or `demo`
 * @throws InputError naming the repository and the places that were looked at
 */
export async function repositoryFolder(weights: string, source: Source): Promise<string> {
  const found = await findRepository(weights, source);
  if (found !== undefined) return found;
  const { repository, model } = source;
  const store = storeFolder(weights);
  throw new InputError(
    `${repository} is not in ${store}: there is neither ${join(store, repository)} nor a hub cache folder ${cacheNameOf(repository)}. ` +
      `Fetch it: retake pull ${model}, with the same --weights.`,
  );
}

/** The same, but undefined if the store doesn't have the repository. */
export async function findRepository(weights: string, source: Source): Promise<string | undefined> {
  const { repository, model } = source;
  const store = storeFolder(weights);
  if (!existsSync(store)) {
    throw new InputError(
      `--weights ${weights}: there is no such folder. Fetch what is needed into it: retake pull ${model}, with the same --weights.`,
    );
  }
  const plain = join(store, repository);
  if (existsSync(plain)) return plain;
  const name = cacheNameOf(repository);
  for (const cache of [join(store, name), join(store, "hub", name)]) {
    if (existsSync(cache)) return await cachedSnapshot(cache, source);
  }
  return undefined;
}

function storeFolder(weights: string): string {
  return weights === "demo" ? demoWeights : resolve(weights);
}

/**
 * The hub cache in a model store that a repository is to be fetched into, so
 * that `repositoryFolder` finds it.
 *
 * @throws InputError if what is there would hide it
 */
export function pullFolder(
  weights: string,
  repository: string,
): { readonly folder: string; readonly cacheName: string } {
  if (weights === "demo") {
    throw new InputError(
      "the demonstration's weights come along with Retake: there is nothing to fetch. Give --weights hub, or a folder.",
    );
  }
  const store = resolve(weights);
  const plain = join(store, repository);
  if (existsSync(plain)) {
    throw new InputError(
      `${plain} is a folder of its own, which is used as it is and would hide what is fetched. Delete it or move it away, then pull again; or give another --weights.`,
    );
  }
  const cacheName = cacheNameOf(repository);
  // Given HF_HOME itself, the cache is one folder further down.
  const below = join(store, "hub");
  const isBelow = !existsSync(join(store, cacheName)) && existsSync(join(below, cacheName));
  return { folder: isBelow ? below : store, cacheName };
}

function cacheNameOf(repository: string): string {
  return `models--${repository.replace("/", "--")}`;
}

async function cachedSnapshot(cache: string, source: Source): Promise<string> {
  const snapshots = join(cache, "snapshots");
  const reference = join(cache, "refs", "main");
  try {
    const revision = existsSync(reference)
      ? (await readFile(reference, "utf8")).trim()
      : await onlyFolderIn(snapshots);
    const snapshot = join(snapshots, revision);
    if (/^\w[\w.-]*$/.test(revision) && existsSync(snapshot)) return snapshot;
    throw new Error(`it names the revision ${JSON.stringify(revision)}, which is not there`);
  } catch (error) {
    throw new InputError(
      `${cache} is not a whole hub cache of ${source.repository}: ${reference}: ${messageOf(error)}. ${fetchAgain(source)}`,
      { cause: error },
    );
  }
}

/** After a pull of one revision by its name: there is no other that could be meant. */
async function onlyFolderIn(snapshots: string): Promise<string> {
  const found = existsSync(snapshots) ? await readdir(snapshots) : [];
  const [only] = found;
  if (only !== undefined && found.length === 1) return only;
  throw new Error(`it is not there, and ${found.length} revisions are`);
}

/** @param remedy what a person does about it. @throws InputError naming the file */
export async function readJson(file: string, remedy: string): Promise<unknown> {
  try {
    const found = await stat(file);
    if (!found.isFile()) throw new Error("it is not a file");
    if (found.size > largestJson) {
      throw new Error(`${found.size} bytes are more than the limit of ${largestJson}`);
    }
    const text = await readFile(file, "utf8");
    const json: unknown = JSON.parse(text);
    const duplicate = findDuplicateKey(text);
    if (duplicate !== undefined) throw new Error(`it has the key "${duplicate}" twice`);
    return json;
  } catch (error) {
    throw unreadableJson(file, remedy, error);
  }
}

/** The error for a JSON file that is missing or damaged. */
export function unreadableJson(file: string, remedy: string, cause: unknown): InputError {
  const message = `${file} can't be read as JSON: ${messageOf(cause)}. ${remedy}`;
  const isMissing = cause instanceof Error && "code" in cause && cause.code === "ENOENT";
  return isMissing ? new MissingFileError(message, { cause }) : new InputError(message, { cause });
}
