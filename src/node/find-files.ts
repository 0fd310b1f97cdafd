import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { CanceledError, InputError } from "../errors.ts";
import { withoutPaths } from "../files/without-paths.ts";
import type { JobSource } from "../job/job.ts";
import { JobError } from "../job/job.ts";
import { assembleJob } from "../lora-files/assemble-job.ts";
import { LoraFolderError } from "../lora-files/local.ts";
import { findLocalJob } from "../lora-files/local-job.ts";
import { makeWorkFolder } from "../lora-files/work-folder.ts";
import type { JobUploads } from "../queue/job-uploads.ts";
import type { RequestRecord } from "../queue/record.ts";
import type { LoraSources } from "./find-loras.ts";
import { lorasForRun } from "./find-loras.ts";
import type { RunFiles } from "./run-workers.ts";

interface Sources extends LoraSources {
  readonly jobUploads: JobUploads;
}

/** What a request names, on the node that runs it: its LoRAs, or its job folder. @throws JobError if it can't be used */
export async function findFiles(
  record: RequestRecord,
  signal: AbortSignal,
  sources: Sources,
): Promise<RunFiles> {
  const { job, owner } = record;
  if (job.kind === "pictures") {
    const paths = await lorasForRun(record, job, signal, sources);
    return { paths, [Symbol.asyncDispose]: async () => {} };
  }
  const { stagingFolder } = sources.jobUploads.contents.store;
  const work = await makeWorkFolder(stagingFolder);
  try {
    const report = join(work.folder, "report");
    await mkdir(report);
    const assembled = join(work.folder, "job");
    const folder = await findJob(job.source, { owner, signal, assembled }, sources);
    return { paths: [folder, report], [Symbol.asyncDispose]: () => work[Symbol.asyncDispose]() };
  } catch (error) {
    await work[Symbol.asyncDispose]();
    throw failureOf(error);
  }
}

interface Wanted {
  readonly owner: string;
  readonly signal: AbortSignal;
  /** Where an uploaded folder is put together. */
  readonly assembled: string;
}

async function findJob(
  source: JobSource,
  { owner, signal, assembled }: Wanted,
  { settings, jobUploads }: Sources,
): Promise<string> {
  if (source.from === "disk") return findLocalJob(settings.loraFolder, source.folder);
  const upload = await jobUploads.get(owner, source.upload);
  if (upload === undefined)
    throw new InputError("The uploaded folder was deleted. Upload it again.");
  const files = upload.files.flatMap(({ path, bytes, sha256 }) =>
    sha256 === null ? [] : [{ path, bytes, sha256 }],
  );
  await assembleJob(assembled, jobUploads.contents.store, files, signal);
  return assembled;
}

function failureOf(error: unknown): unknown {
  if (error instanceof LoraFolderError)
    return failure("LORA_FOLDER_NOT_AVAILABLE", error.message, error);
  if (error instanceof CanceledError) return failure("CANCELED", "Canceled.", error);
  if (error instanceof InputError)
    return failure("JOB_NOT_USABLE", withoutPaths(error.message), error);
  return error;
}

function failure(code: string, message: string, cause: Error): JobError {
  return new JobError({ code, message, promptIndex: null, images: [] }, false, { cause });
}
