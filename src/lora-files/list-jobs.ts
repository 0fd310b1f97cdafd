import type { Dirent } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { InputError } from "../errors.ts";
import { configNames, isLoraName, isPreviewName, previewFolder } from "../job/job-files.ts";

/** A job folder below the LoRA folder. */
export interface ListedJob {
  /** What a request writes as `folder`: with slashes, below the LoRA folder. */
  readonly folder: string;
  readonly previews: number;
  readonly loras: number;
}

export interface JobsQuery {
  /** The LoRA folder. */
  readonly root: string;
  readonly limit: number;
  /** The last folder of the page before. */
  readonly after: string | undefined;
}

/** Folders of trainings lie in the LoRA folder, or in folders of people or projects in it. */
const deepest = 4;
const mostEntries = 200_000;

/**
 * The job folders below the LoRA folder by name: what has a configuration and a folder of previews.
 * Links are not followed.
 *
 * @throws InputError if the folder holds more than is looked at
 */
export async function listJobs({ root, limit, after }: JobsQuery): Promise<ListedJob[]> {
  const jobs: ListedJob[] = [];
  let entries = 0;
  const namesIn = async (path: string): Promise<Dirent[]> => {
    // Gone meanwhile, or not for this user to read: nothing of it is offered.
    const found = await readdir(join(root, path), { withFileTypes: true }).catch(() => []);
    entries += found.length;
    if (entries > mostEntries) {
      throw new InputError(
        `The server's LoRA folder holds more than ${mostEntries} files and folders, too many to look for jobs in. Name the job's folder.`,
      );
    }
    return found;
  };
  const look = async (path: string, depth: number): Promise<void> => {
    const found = await namesIn(path);
    const files = found.filter((entry) => entry.isFile()).map(({ name }) => name);
    const folders = found.filter((entry) => entry.isDirectory()).map(({ name }) => name);
    if (path !== "" && folders.includes(previewFolder) && files.some(isConfig)) {
      if (after !== undefined && !comesBefore(after, path)) return;
      const pictures = await namesIn(`${path}/${previewFolder}`);
      jobs.push({
        folder: path,
        previews: pictures.filter((one) => one.isFile() && isPreviewName(one.name)).length,
        loras: files.filter(isLoraName).length,
      });
      return;
    }
    if (depth === deepest) return;
    for (const name of folders
      .filter((folder) => !folder.startsWith("."))
      .toSorted((a, b) => (comesBefore(a, b) ? -1 : 1))) {
      if (jobs.length >= limit) return;
      const below = path === "" ? name : `${path}/${name}`;
      await look(below, depth + 1);
    }
  };
  await look("", 0);
  return jobs;
}

function isConfig(name: string): boolean {
  return configNames.includes(name);
}

/** In the order in which folders are looked at: a folder before what has its name and more. */
function comesBefore(a: string, b: string): boolean {
  return `${a}/` < `${b}/`;
}
