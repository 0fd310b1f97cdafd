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
  /** Keeps the whole report and its page. @returns false if none was written into the folder */
  publish(): Promise<boolean>;
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
  /** By what they are of; those of an earlier run until this one has come to them. */
  const samples = new Map<string, ReportSample>();
  let started = false;
  const read = async (name: string): Promise<Buffer | undefined> => {
    const found = await results.read(name);
    return found === undefined ? undefined : buffer(found.content);
  };
  const write = (name: string, bytes: Uint8Array) => writeResult(results, name, bytes);
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
      return started;
    },
    async restore() {
      const report = await readReport(job, results);
      const notes = await read(reportFile(job, "jsonl"));
      if (report === null || notes === undefined) return;
      await mkdir(join(work, "pictures"), { recursive: true });
      for (const sample of report.samples) {
        const { picture } = sample;
        samples.set(nameOf(sample), sample);
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
      started = true;
      samples.set(nameOf(sample), sample);
      await asOften(async () => {
        await write(reportFile(job, "jsonl"), await readFile(join(work, notebookFile)));
        const planned = plan.samples.map(({ preview: own, ...other }) =>
          samples.get(nameOf({ ...other, preview: own?.file ?? null })),
        );
        const report = reportOf(
          plan,
          planned.filter((one) => one !== undefined),
        );
        await write(reportFile(job, "json"), Buffer.from(writeJson(report)));
      });
      const file = picture === null ? null : retakeFile(job, picture);
      return { preview, step, index, verdict, psnr, file };
    },
    async publish() {
      // The page first: a report that is finished has one.
      for (const format of ["html", "json"] as const) {
        const bytes = await readFile(join(work, `report.${format}`)).catch(() => undefined);
        // Stopped before anything was drawn.
        if (bytes === undefined) return false;
        await write(reportFile(job, format), bytes);
      }
      return true;
    },
  };
}

function nameOf({ preview, step, index }: Pick<ReportSample, "preview" | "step" | "index">) {
  return preview ?? `${step}/${index}`;
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
