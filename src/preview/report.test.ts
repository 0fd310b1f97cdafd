import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { goldenFolder } from "../../test/golden.ts";
import type { Report, ReportSample } from "../wire/report.ts";
import { summarise, writeReport } from "./report.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-report-"));
  mkdirSync(join(folder, "pictures"));
  writeFileSync(join(folder, "pictures", "0.png"), golden("picture.png"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const golden = (name: string) => readFileSync(join(goldenFolder, "pictures", name));

const sample: ReportSample = {
  ...{ preview: "samples/1__000000000_0.jpg", picture: "pictures/0.png", step: 0, index: 0 },
  ...{ set: "sample", era: "preview-0.7.25", as_trained: null, verdict: "equal" },
  ...{ psnr: 100, ssim: 1, max_difference: 0, reason: null },
  settings: { prompt: "a red circle", seed: 18_446_744_073_709_551_615n },
  why: { era: "the LoRA's header says 0.7.25" },
  causes: [],
};

const reportOf = (samples: readonly ReportSample[]): Report => ({
  ...{ job: "my_cat", retake: "0.1.0", trainer_versions: ["0.7.25"], finished: true, notes: [] },
  samples,
  summary: summarise(samples, samples.length),
});

async function write(samples: readonly ReportSample[], preview = golden("picture.jpg")) {
  await writeReport(folder, reportOf(samples), async () => preview);
  return readFileSync(join(folder, "report.html"), "utf8");
}

test("the summary counts every verdict and what is missing", () => {
  const of = (...verdicts: ReportSample["verdict"][]) => verdicts.map((verdict) => ({ verdict }));
  expect(
    summarise(of("equal", "close", "equal", "different", "not reproducible", "no preview"), 8),
  ).toEqual({
    ...{ previews: 8, equal: 2, close: 1, different: 1, not_reproducible: 1, no_preview: 1 },
    waiting: 2,
    sentence:
      "8 previews: 2 equal, 1 close, 1 different, 1 not reproducible, 1 without a preview, 2 not drawn",
  });
  expect(summarise(of("equal"), 1).sentence).toBe("1 preview: 1 equal");
});

test("report.json holds the report, seeds digit by digit", async () => {
  await write([sample]);
  const text = readFileSync(join(folder, "report.json"), "utf8");
  expect(text).toContain('"seed":18446744073709551615');
  expect(JSON.parse(text)).toMatchObject({
    job: "my_cat",
    samples: [{ preview: sample.preview, picture: "pictures/0.png", verdict: "equal", psnr: 100 }],
    summary: { previews: 1, equal: 1 },
  });
});

test("report.html holds the preview's own bytes and its retake as the trainer would have saved it", async () => {
  const page = await write([sample]);
  const embedded = [...page.matchAll(/src="data:image\/jpeg;base64,([^"]+)"/g)].map(([, text]) =>
    Buffer.from(text!, "base64"),
  );
  expect(embedded).toHaveLength(2);
  expect(embedded[0]).toEqual(golden("picture.jpg"));
  expect(page).toContain("v0.7.25, 1 preview: 1 equal");
});

test("no text of a job becomes markup", async () => {
  const hostile = `</script><script>alert(1)</script>"'><img src=x onerror=alert(1)>\u202e\u0007`;
  const page = await write([
    {
      ...sample,
      ...{ preview: hostile, verdict: "different", max_difference: 9, reason: hostile },
      settings: {
        ...{ prompt: hostile, negative_prompt: hostile, model: hostile },
        loras: [{ sha256: hostile, name: hostile, network_multiplier: 1 }],
      },
      why: { era: hostile, [hostile]: hostile },
      causes: [
        { factor: hostile, value: hostile, psnr: 1, gain: 1, sentence: hostile, flag: hostile },
        { factor: hostile, value: { hostile }, psnr: 1 },
      ],
    },
  ]);
  expect(page).toContain("&lt;/script&gt;&lt;script&gt;alert(1)");
  expect(page).toContain("\\u{202e}\\u{7}");
  for (const mark of ["\u202e", "\u0007"]) expect(page).not.toContain(mark);
  expect(page.match(/<script/g)).toHaveLength(1);
  expect(page).not.toMatch(/<img src=x/);
});

test("a preview that can't be decoded doesn't keep the others from being shown", async () => {
  const cut = golden("picture.jpg").subarray(0, 900);
  const reason = "samples/1__000000000_0.jpg can't be decoded: it is cut off or damaged";
  const page = await write([{ ...sample, verdict: "not reproducible", picture: null }], cut);
  expect(page).toContain(reason.replace("'", "&#39;"));
});

test("a folder that can't be written is refused", async () => {
  await expect(
    writeReport(join(folder, "none"), reportOf([sample]), async () => golden("picture.jpg")),
  ).rejects.toThrow(/report\.json can't be written/);
});
