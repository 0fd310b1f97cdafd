import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { InputError } from "../errors.ts";
import { writeWhole } from "../files/whole.ts";
import type { JobRetake, RetakeJob } from "../job/job.ts";
import { originalFile, reportFile, retakeFile } from "../job/report-files.ts";
import { notebookFile } from "../preview/notebook.ts";
import type { Plan } from "../preview/plan.ts";
import { readPreview } from "../preview/preview-files.ts";
import { reportOf } from "../preview/retake.ts";
import { readReport } from "../storage/read-report.ts";
import type { ResultStore } from "../storage/results.ts";
import { isResultName } from "../storage/results.ts";
import { writeJson } from "../wire/python-json.ts";
import type { ReportSample } from "../wire/report.ts";
import { writeResult } from "./failure.ts";

/** A report's files on their way between the folder that it is made in and the result store. */
export interface ReportStore {
  /** Whether a picture was kept by this run. */
  readonly started: boolean;
  /** Brings what an earlier run of the request kept into the folder. */
  restore(): Promise<void>;
  /** Keeps a picture, its preview, and the report as it stands with them. @returns what to tell of it */
  keep(sample: ReportSample): Promise<JobRetake>;
  /** Keeps the whole report and its page, as they were written into the folder. @returns true */
  publish(): Promise<true>;
}

interface Places {
  /** Folder that the report is made in. */
  readonly work: string;
  readonly results: ResultStore;
}

export function openReportStore(
  job: RetakeJob,
  plan: Plan,
  { work, results }: Places,
): ReportStore {
  const previews = new Map(plan.job.previews.map((preview) => [preview.file, preview]));
  const done: ReportSample[] = [];
  const read = async (name: string): Promise<Buffer | undefined> => {
    const found = await results.read(name);
    return found === undefined ? undefined : buffer(found.content);
  };
  const write = (name: string, bytes: Uint8Array) => writeResult(results, name, bytes);
  const publishFile = async (format: "json" | "html") =>
    write(reportFile(job, format), await readFile(join(work, `report.${format}`)));

  const asOften = sparingly();

  const keepOriginal = async (file: string) => {
    const name = originalFile(job, file);
    const preview = previews.get(file);
    if (preview === undefined || !isResultName(name)) return;
    try {
      await write(name, await readPreview(preview));
    } catch (error) {
      // One that can't be read is said in the report.
      if (!(error instanceof InputError)) throw error;
    }
  };

  return {
    get started() {
      return done.length > 0;
    },
    async restore() {
      const report = await readReport(job, results);
      const notes = await read(reportFile(job, "jsonl"));
      if (report === null || notes === undefined) return;
      await mkdir(join(work, "pictures"), { recursive: true });
      for (const { picture } of report.samples) {
        const bytes = picture === null ? undefined : await read(retakeFile(job, picture));
        if (picture !== null && bytes !== undefined) await writeWhole(join(work, picture), [bytes]);
      }
      await writeWhole(join(work, notebookFile), [notes]);
    },
    async keep(sample) {
      const { preview, picture, step, index, verdict, psnr } = sample;
      if (preview !== null) await keepOriginal(preview);
      if (picture !== null)
        await write(retakeFile(job, picture), await readFile(join(work, picture)));
      done.push(sample);
      await asOften(async () => {
        await write(reportFile(job, "jsonl"), await readFile(join(work, notebookFile)));
        await write(reportFile(job, "json"), Buffer.from(writeJson(reportOf(plan, done))));
      });
      const file = picture === null ? null : retakeFile(job, picture);
      return { preview, step, index, verdict, psnr, file };
    },
    async publish() {
      // The page first: a report that is finished has one.
      await publishFile("html");
      await publishFile("json");
      return true;
    },
  };
}

/** What grows with each picture is written so that a tenth of the time goes into it, not more. */
function sparingly(): (write: () => Promise<void>) => Promise<void> {
  let endedAt = Number.NEGATIVE_INFINITY;
  let took = 0;
  return async (write) => {
    const startedAt = performance.now();
    if (startedAt - endedAt < 9 * took) return;
    await write();
    endedAt = performance.now();
    took = endedAt - startedAt;
  };
}
