import { text } from "node:stream/consumers";
import type { Job } from "../job/job.ts";
import { reportFile } from "../job/report-files.ts";
import { parsePythonJson } from "../wire/python-json.ts";
import type { Report } from "../wire/report.ts";
import type { ResultStore } from "./results.ts";

/** What a request's report says so far; null if it has none. Seeds keep all of their digits. */
export async function readReport(
  job: Pick<Job, "id" | "kind">,
  results: ResultStore,
): Promise<Report | null> {
  const found = job.kind === "retake" ? await results.read(reportFile(job, "json")) : undefined;
  if (found === undefined) return null;
  return parsePythonJson(await text(found.content)) as unknown as Report; // a worker wrote it
}
