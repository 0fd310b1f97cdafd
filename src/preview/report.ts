import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { makeWhole, notWritable, writeNew, writeWhole } from "../files/whole.ts";
import { reportScript, reportStyles } from "../paths.ts";
import { writeJson } from "../wire/python-json.ts";
import type { Report, ReportSample, ReportSummary, Verdict } from "../wire/report.ts";
import { card } from "./report-card.ts";
import type { PageParts } from "./report-page.ts";
import { pageEnd, pageStart } from "./report-page.ts";
import type { ReadPreview } from "./report-pictures.ts";
import { shownPair } from "./report-pictures.ts";
import { cardId } from "./report-words.ts";

function countVerdicts(samples: readonly Pick<ReportSample, "verdict">[]) {
  const count = (verdict: Verdict) => samples.filter((sample) => sample.verdict === verdict).length;
  return {
    equal: count("equal"),
    close: count("close"),
    different: count("different"),
    not_reproducible: count("not reproducible"),
    no_preview: count("no preview"),
  };
}

/** @param planned pictures that the report is to be about */
export function summarise(
  samples: readonly Pick<ReportSample, "verdict">[],
  planned: number,
): ReportSummary {
  const counts = countVerdicts(samples);
  const waiting = planned - samples.length;
  const parts = [
    [counts.equal, "equal"],
    [counts.close, "close"],
    [counts.different, "different"],
    [counts.not_reproducible, "not reproducible"],
    [counts.no_preview, "without a preview"],
    [waiting, "not drawn"],
  ] as const;
  const said = parts.filter(([number]) => number > 0).map(([number, word]) => `${number} ${word}`);
  const previews = `${planned} ${planned === 1 ? "preview" : "previews"}`;
  const sentence = said.length === 0 ? previews : `${previews}: ${said.join(", ")}`;
  return { previews: planned, ...counts, waiting, sentence };
}

/**
 * Whole pictures until the page has so many bytes, then smaller ones: a browser opens 150 MB in two
 * seconds, and a job of thousands of pictures would have gigabytes.
 */
const shownSides: readonly { readonly from: number; readonly longest: number }[] = [
  { from: 250e6, longest: 192 },
  { from: 150e6, longest: 512 },
];

/**
 * Writes `report.json` and `report.html`, each whole or not at all.
 *
 * @param folder that holds the retakes' pictures/ already
 * @param readPreview brings a preview's bytes
 * @throws InputError if the place can't be written
 */
export async function writeReport(
  folder: string,
  report: Report,
  readPreview: ReadPreview,
): Promise<void> {
  await writeReportJson(folder, report);
  const parts: PageParts = {
    style: (await Promise.all(reportStyles.map((file) => readFile(file, "utf8")))).join("\n"),
    script: await readFile(reportScript, "utf8"),
  };
  const path = join(folder, "report.html");
  const write = (temporary: string) =>
    writeNew(temporary, async (handle) => {
      await handle.writeFile(pageStart(report, parts).markup);
      let written = 0;
      // One pair in memory at a time.
      for (const [position, sample] of report.samples.entries()) {
        const longest = shownSides.find(({ from }) => written >= from)?.longest ?? null;
        const pair = await shownPair(sample, folder, readPreview, longest);
        const { markup } = card(sample, cardId(position), pair);
        await handle.writeFile(markup);
        written += markup.length;
      }
      await handle.writeFile(pageEnd(parts).markup);
    });
  await makeWhole(path, write).catch((error: unknown) => {
    throw notWritable(path, error);
  });
}

/** What is known so far: to be gone on with, or read by a program. */
async function writeReportJson(folder: string, report: Report): Promise<void> {
  const path = join(folder, "report.json");
  await writeWhole(path, [Buffer.from(`${writeJson(report)}\n`)]).catch((error: unknown) => {
    throw notWritable(path, error);
  });
}
