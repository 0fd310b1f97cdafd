import { existsSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { InputError, messageOf } from "../errors.ts";
import { findDuplicateKey } from "./duplicate-keys.ts";

/** JSON files of a repository are small; the largest is a tokenizer of 11 MB. */
const largestJson = 64 * 1024 * 1024;

/** The model store that comes with Retake. */
const demoWeights = fileURLToPath(new URL("../../demo/weights", import.meta.url));

/**
 * The folder of a hub repository in a model store: a folder with the hub's names
 * (`owner/name/`), or a hub cache (`models--owner--name/snapshots/...`).
 *
 * @param weights the store's folder, or `demo`
 * @throws InputError naming the repository and the places that were looked at
 */
export async function repositoryFolder(weights: string, repository: string): Promise<string> {
  const found = await findRepository(weights, repository);
  if (found !== undefined) return found;
  const store = storeFolder(weights);
  const plain = join(store, repository);
  throw new InputError(
    `${repository} is not in ${store}: there is neither ${plain} nor a hub cache folder ${cacheNameOf(repository)}. ` +
      `Fetch it with: hf download ${repository} --local-dir ${plain}`,
  );
}

/** The same, but undefined if the store doesn't have the repository. */
export async function findRepository(
  weights: string,
  repository: string,
): Promise<string | undefined> {
  const store = storeFolder(weights);
  if (!existsSync(store)) {
    throw new InputError(`--weights ${weights}: there is no such folder.`);
  }
  const plain = join(store, repository);
  if (existsSync(plain)) return plain;
  const name = cacheNameOf(repository);
  for (const cache of [join(store, name), join(store, "hub", name)]) {
    if (existsSync(cache)) return await cachedSnapshot(cache, repository);
  }
  return undefined;
}

function storeFolder(weights: string): string {
  return weights === "demo" ? demoWeights : resolve(weights);
}

function cacheNameOf(repository: string): string {
  return `models--${repository.replace("/", "--")}`;
}

async function cachedSnapshot(cache: string, repository: string): Promise<string> {
  const reference = join(cache, "refs", "main");
  try {
    const revision = (await readFile(reference, "utf8")).trim();
    const snapshot = join(cache, "snapshots", revision);
    if (/^\w[\w.-]*$/.test(revision) && existsSync(snapshot)) return snapshot;
    throw new Error(`it names the revision ${JSON.stringify(revision)}, which is not there`);
  } catch (error) {
    throw new InputError(
      `${cache} is not a whole hub cache of ${repository}: ${reference}: ${messageOf(error)}. ` +
        `Fetch it again with: hf download ${repository}`,
      { cause: error },
    );
  }
}

/** @throws InputError naming the file and the repository that it belongs to */
export async function readJson(file: string, repository: string): Promise<unknown> {
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
    throw new InputError(
      `${file} can't be read as JSON: ${messageOf(error)}. Fetch ${repository} again.`,
      { cause: error },
    );
  }
}
