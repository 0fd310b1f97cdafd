import { commonNote } from "../preview/explain-job.ts";
import type { Report, ReportSample } from "../wire/report.ts";

/** Verdicts that need words; an equal picture needs none. */
const told = ["different", "not reproducible", "close", "no preview"] as const;

/** What a person reads in five seconds: how many matched, what did not and why, and where to look. */
export function summaryOf(
  { job, summary, samples, notes, finished }: Report,
  page: string,
): string {
  const lines = [`${job}: ${summary.sentence}`];
  for (const verdict of told) {
    const groups = Map.groupBy(
      samples.filter((sample) => sample.verdict === verdict),
      whyOf,
    );
    for (const [why, alike] of groups) {
      lines.push(`  ${verdict}: ${placesOf(alike)}${nearOf(alike)}${why === "" ? "" : `. ${why}`}`);
    }
  }
  for (const note of [...commonNote(summary.cause ?? null), ...notes])
    lines.push(`  note: ${note}`);
  if (!finished) lines.push("  the same command goes on with what is missing");
  lines.push(`report: ${page}`);
  return `${lines.join("\n")}\n`;
}

function whyOf({ causes: [cause], reason }: ReportSample): string {
  if (cause === undefined) return reason ?? "";
  const flag = cause.flag === null || cause.flag === undefined ? "" : ` (${cause.flag})`;
  return `Likely ${cause.factor}: ${cause.sentence ?? String(cause.value)}${flag}`;
}

/** `step 4: sample 0, 1; step 6: sample 0 to 9`. */
function placesOf(samples: readonly ReportSample[]): string {
  const steps = Map.groupBy(samples, ({ step, set }) =>
    set === "first_sample" ? `step ${step}, first_sample` : `step ${step}`,
  );
  return [...steps]
    .map(([step, alike]) => `${step}: sample ${ranges(alike.map(({ index }) => index))}`)
    .join("; ");
}

/** Three and more in a row as their ends. */
function ranges(numbers: readonly number[]): string {
  const runs: number[][] = [];
  for (const number of numbers) {
    const run = runs.at(-1);
    if (run !== undefined && run.at(-1)! + 1 === number) run.push(number);
    else runs.push([number]);
  }
  return runs
    .map((run) => (run.length < 3 ? run.join(", ") : `${run[0]} to ${run.at(-1)}`))
    .join(", ");
}

function nearOf(samples: readonly ReportSample[]): string {
  const figures = samples.flatMap(({ psnr }) => psnr ?? []);
  if (figures.length === 0) return "";
  return ` (${Math.min(...figures).toFixed(1)} dB${figures.length === 1 ? "" : " and more"})`;
}
