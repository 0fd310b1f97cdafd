import type { Job } from "./job.ts";

// What the files of a report on a training's previews are called in the result store. report.json
// names its pictures by folders that lie beside it; here all files of all requests share one.

type Named = Pick<Job, "id">;

/**
 * `json`: the report as data; `html`: a page that holds all of it; `jsonl`: what a run has found out,
 * for the next one.
 */
export function reportFile({ id }: Named, format: "json" | "html" | "jsonl"): string {
  return `${id}_report.${format}`;
}

/** @param picture of a retake, as report.json has it */
export function retakeFile({ id }: Named, picture: string): string {
  return `${id}_retake_${lastPart(picture)}`;
}

/** @param preview in the job's folder, as report.json has it */
export function originalFile({ id }: Named, preview: string): string {
  return `${id}_original_${lastPart(preview)}`;
}

function lastPart(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
