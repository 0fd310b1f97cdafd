import { mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Report } from "../src/wire/report.ts";
import { startRetake } from "./retake-process.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const page = readFileSync(join(root, "docs/your-preview-again.md"), "utf8");
/** Commands that the page shows with what they print. */
const printed = [...page.matchAll(/```sh\nbin\/retake ([^\n]*)\n```\n\n```\n(.*?)```/gs)].map(
  ([, command, output]) => [command!, output!] as const,
);

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-again-"));
  symlinkSync(join(root, "demo"), join(folder, "demo"));
});
afterAll(() => rmSync(folder, { recursive: true }));

test("the page shows two commands with what they print", () => expect(printed).toHaveLength(2));

test.each(printed)("%s prints what the page says", async (command, output) => {
  const { code, stdout, stderr } = await startRetake(command.split(" "), { cwd: folder }).ended;
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toBe(output);
});

test("the page's table is the report's", () => {
  const report: Report = JSON.parse(readFileSync(join(folder, "report/report.json"), "utf8"));
  const rows = report.samples.map(
    ({ preview, step, index, era, verdict }) =>
      `| \`${basename(preview!)}\` | ${step} | ${index} | \`${era}\` | ${verdict} |`,
  );
  const table = page.split("\n").filter((line) => /^\| `\d+__/.test(line));
  expect(table.map((row) => row.replace(/ \d+ \|$/, ""))).toEqual(rows);
  // The last digit is the machine's: an order of sums.
  for (const { max_difference } of report.samples) expect(max_difference).toBeLessThanOrEqual(4);
});

test("README's pictures are the previews and their retakes", async () => {
  const report: Report = JSON.parse(readFileSync(join(folder, "report/report.json"), "utf8"));
  const last = report.samples.filter(({ step }) => step > 0);
  const strips = {
    previews: last.map(({ preview }) => join(root, "demo/job", preview!)),
    retakes: last.map(({ picture }) => join(folder, "report", picture!)),
  };
  for (const [name, files] of Object.entries(strips)) {
    const strip = await sharp(join(root, `docs/images/${name}.jpg`)).toBuffer();
    let left = 0;
    for (const file of files) {
      const { data, info } = await sharp(file)
        .removeAlpha()
        .raw()
        .toBuffer({ resolveWithObject: true });
      const { width, height } = info;
      const place = { left, top: 0, width, height };
      const shown = await sharp(strip).extract(place).removeAlpha().raw().toBuffer();
      const error = data.reduce((sum, value, i) => sum + (value - shown[i]!) ** 2, 0) / data.length;
      // A JPEG's error is far below this; that of another of the pictures far above.
      expect(error, file).toBeLessThan(100);
      left += width + 8;
    }
  }
});
