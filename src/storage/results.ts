import { createReadStream } from "node:fs";
import { opendir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { makeOwnFolder } from "../files/own-folder.ts";
import { removeTemporaries, writeWhole } from "../files/whole.ts";
import type { Job, PictureJob } from "../job/job.ts";
import { bounds } from "../job/request.ts";

/** Where finished pictures go, and come from when somebody asks for them. */
export interface ResultStore {
  /** Keeps a file, whole or not at all. When it returns, the file survives a crash. */
  write(name: string, bytes: Uint8Array): Promise<void>;
  /** Where a file lies: a path, or `s3://bucket/name`. @throws RangeError if it is no result's name */
  fileOf(name: string): string;
  read(name: string): Promise<{ bytes: number; content: Readable } | undefined>;
  /** Removes every file of a job, those that no run told of included; does nothing if there is none. */
  removeAll(job: Job): Promise<void>;
}

const extensions = { jpeg: "jpg", png: "png", webp: "webp" } as const;

export function outputName({ id, format }: Pick<PictureJob, "id" | "format">, promptIndex: number) {
  return `${id}_output_${promptIndex}.${extensions[format]}`;
}

/** @param step counted from 1 */
export function previewName({ id }: Pick<Job, "id">, promptIndex: number, step: number) {
  return `${id}_preview_${promptIndex}_${step}.jpg`;
}

/** Every name that a file of a request for pictures can have. */
function* namesOf(job: PictureJob): Generator<string> {
  for (const [index, { steps }] of job.prompts.entries()) {
    yield outputName(job, index);
    if (job.previewEvery === null) continue;
    const last = steps ?? bounds.steps.le;
    for (let step = job.previewEvery; step <= last; step += job.previewEvery)
      yield previewName(job, index, step);
  }
}

/** Names are made above: nothing else is read or written. */
const namePattern =
  /^[0-9a-f-]{36}_(?:(?:output_\d+|preview_\d+_\d+|(?:original|retake)_[\w.-]{1,150})\.(?:jpg|png|webp)|report\.(?:jsonl?|html))$/;

export function isResultName(name: string): boolean {
  return namePattern.test(name);
}

const contentTypes: Readonly<Record<string, string>> = {
  jpg: "image/jpeg",
  png: "image/png",
  webp: "image/webp",
  json: "application/json",
  jsonl: "application/x-ndjson",
  // A browser that takes it for a page would run it as one of this server's.
  html: "application/octet-stream",
};

/** By the ending of a result's name. */
export function contentTypeOf(name: string): string | undefined {
  return contentTypes[name.split(".").at(-1)!];
}

/** Results in one flat folder, as the reference keeps them. */
export class ResultFolder implements ResultStore {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** @throws InputError if the folder can't be made */
  static async open(folder: string): Promise<ResultFolder> {
    // Clients of other users read pictures by their path.
    await makeOwnFolder(folder, "OUTPUT_BASE_PATH", 0o755);
    // What killed workers had half-written.
    await removeTemporaries(folder, leftoverMilliseconds);
    return new ResultFolder(folder);
  }

  fileOf(name: string): string {
    if (!isResultName(name)) throw new RangeError(`${name} is not the name of a result`);
    return join(this.#folder, name);
  }

  async write(name: string, bytes: Uint8Array): Promise<void> {
    await writeWhole(this.fileOf(name), [bytes]);
  }

  async read(name: string): ReturnType<ResultStore["read"]> {
    if (!isResultName(name)) return undefined;
    const path = this.fileOf(name);
    const found = await stat(path).catch(() => undefined);
    return found?.isFile() ? { bytes: found.size, content: createReadStream(path) } : undefined;
  }

  /** By name: the folder holds the files of all requests, and to list them takes longer the more there are. */
  async removeAll(job: Job): Promise<void> {
    const names = job.kind === "pictures" ? namesOf(job) : await this.#listed(`${job.id}_`);
    for (const name of names) await rm(this.fileOf(name), { force: true });
  }

  /** A report's pictures are named after a training's files, which may be gone. */
  async #listed(start: string): Promise<string[]> {
    const names: string[] = [];
    for await (const { name } of await opendir(this.#folder)) {
      if (name.startsWith(start) && isResultName(name)) names.push(name);
    }
    return names;
  }
}

/** Nobody writes one file for so long. */
const leftoverMilliseconds = 3_600_000;
