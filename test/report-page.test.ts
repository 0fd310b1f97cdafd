import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { decodeImage } from "../src/image/decode-image.ts";
import { encodeAsTrainer } from "../src/image/encode-image.ts";
import { summarise, writeReport } from "../src/preview/report.ts";
import type { ReportSample, Verdict } from "../src/wire/report.ts";
import {
  axeViolations,
  noBrowser,
  openBrowser,
  openPage,
  overflowOf,
  viewports,
} from "./browser.ts";
import { goldenFolder } from "./golden.ts";

const hostile = `</script><script>document.title = "taken"</script>"'><img src=x onerror="document.title = 'taken'">`;
const long = "a-word-that-no-line-holds-".repeat(20);
const golden = (name: string) => readFileSync(join(goldenFolder, "pictures", name));

const sample: ReportSample = {
  ...{ preview: "samples/equal.jpg", picture: "pictures/equal.png", step: 0, index: 0 },
  ...{ set: "sample", era: "preview-0.7.25", as_trained: null, verdict: "equal" },
  ...{ psnr: 100, ssim: 1, max_difference: 0, reason: null },
  settings: {
    ...{ model: "zimage_turbo", prompt: "a red circle on blue", negative_prompt: "", seed: 42 },
    ...{ width: 83, height: 61, num_inference_steps: 8, guidance_scale: 1, standard_cfg: 2 },
    sigmas: [1, 0.9, 0.7, 0, 0],
    loras: [{ sha256: "ab".repeat(32), name: "my_cat", network_multiplier: 0.8 }],
  },
  why: { era: "my_cat.safetensors was saved by ai-toolkit 0.7.25" },
  causes: [],
};

const cause = {
  ...{ factor: "era", value: "preview-0.10.21", flag: "--era 0.10.21" },
  sentence: "Guidance means what it did from 0.10.21 on",
};

const different: ReportSample = {
  ...{ ...sample, preview: "samples/noisy.jpg", verdict: "different", step: 2000, index: 1 },
  ...{ psnr: 32.7, ssim: 0.9045, max_difference: 23 },
  causes: [
    { ...cause, psnr: 58, gain: 25.3 },
    { factor: "steps", value: 9, psnr: 33.1, gain: 0.4 },
  ],
};

/** Every state of a card, and texts that want to be markup or wider than the page. */
const samples: ReportSample[] = [
  sample,
  { ...different, verdict: "close", step: 1000, reason: "The job ran in bf16.", causes: [] },
  different,
  { ...different, index: 2, causes: [] },
  {
    ...{ ...sample, index: 3, picture: null, verdict: "not reproducible" },
    ...{ psnr: null, ssim: null, max_difference: null },
    reason: "the LoRA of step 2000 is not in the folder: those of step 1000 are left",
  },
  {
    ...{ ...different, index: 4, preview: "samples/brighter.png", reason: hostile },
    settings: { ...sample.settings, prompt: hostile, negative_prompt: long },
    why: { era: hostile, [long]: long },
  },
  { ...different, preview: "samples/other.jpg", index: 5, psnr: null, reason: "Other sizes." },
  { ...sample, preview: "samples/cut.jpg", index: 6, verdict: "not reproducible" },
  { ...sample, preview: null, index: 7, verdict: "no preview", psnr: null, reason: null },
  { ...sample, index: 8, settings: { prompt: long }, verdict: "not reproducible", picture: null },
];

describe.skipIf(noBrowser)("report.html", () => {
  let folder: string;
  let browser: Browser;
  let address: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "retake-report-page-"));
    mkdirSync(join(folder, "pictures"));
    writeFileSync(join(folder, "pictures", "equal.png"), golden("picture.png"));
    const noisy = await encodeAsTrainer(await decodeImage(golden("noisy.png"), "noisy"), "jpeg");
    const previews: Record<string, Uint8Array> = {
      "samples/equal.jpg": golden("picture.jpg"),
      "samples/noisy.jpg": noisy,
      "samples/brighter.png": golden("brighter.png"),
      "samples/cut.jpg": noisy.subarray(0, 1000),
    };
    const small = { ...(await decodeImage(golden("noisy.png"), "noisy")) };
    const half = { data: small.data.slice(0, 3 * 83 * 30), width: 83, height: 30 };
    previews["samples/other.jpg"] = await encodeAsTrainer(half, "jpeg");
    const report = {
      ...{ job: `my_cat ${hostile}`, retake: "0.1.0", trainer_versions: ["0.7.25"] },
      ...{ finished: false, notes: [hostile], samples },
      summary: { ...summarise(samples, 12), cause: { ...cause, explained: 3, different: 4 } },
    };
    await writeReport(folder, report, async (file) => previews[file]!);
    address = pathToFileURL(join(folder, "report.html")).href;
    browser = await openBrowser();
  });
  afterAll(async () => {
    await browser?.close();
    rmSync(folder, { recursive: true });
  });

  const cardOf = (page: Page, verdict: Verdict) =>
    page.locator(`article[data-verdict="${verdict}"]`).first();

  for (const [device, viewport] of Object.entries(viewports)) {
    for (const colorScheme of ["light", "dark"] as const) {
      test(`opens without a network on a ${device} in ${colorScheme}`, async () => {
        const options = { viewport, colorScheme, offline: true };
        await using opened = await openPage(browser, address, options);
        const { page, complaints, requests } = opened;
        expect(await page.title()).toContain("12 previews: 1 equal, 1 close, 4 different");
        expect(await page.locator("article").count()).toBe(samples.length);
        for (const details of await page.locator("details").all()) {
          await details.locator("summary").click();
        }
        for (const map of await page.locator(".map").all()) {
          await map.scrollIntoViewIfNeeded();
          await map.locator("text=/Difference[,:] ./").waitFor();
        }
        expect(await overflowOf(page)).toBe(0);
        expect(await axeViolations(page)).toEqual([]);
        expect(complaints).toEqual([]);
        expect(requests).toEqual([]);
      });
    }
  }

  test("the slider follows the keyboard", async () => {
    await using opened = await openPage(browser, address, { viewport: viewports.phone });
    const { page } = opened;
    const card = cardOf(page, "different");
    const range = card.getByRole("slider");
    await range.focus();
    const retake = `document.querySelector('article[data-verdict="different"] .after img')`;
    const shown = () => page.evaluate<string>(`getComputedStyle(${retake}).clipPath`);
    expect(await shown()).toBe("inset(0px 0px 0px 50%)");
    await page.keyboard.press("ArrowRight");
    expect(await shown()).toBe("inset(0px 0px 0px 51%)");
    await page.keyboard.press("Home");
    expect(await shown()).toBe("inset(0px 0px 0px 0%)");
    await page.keyboard.press("End");
    expect(await shown()).toBe("inset(0px 0px 0px 100%)");
    expect(await range.getAttribute("aria-valuetext")).toBe("100 % preview, the rest retake");
  });

  test("the slider follows the pointer, over the whole picture", async () => {
    await using opened = await openPage(browser, address, { viewport: viewports.desktop });
    const { page } = opened;
    const card = cardOf(page, "different");
    const range = card.getByRole("slider");
    const picture = await card.locator(".before img").boundingBox();
    const overlay = await range.boundingBox();
    expect(Math.abs(overlay!.height - picture!.height)).toBeLessThan(1);
    await range.click({ position: { x: 0.25 * overlay!.width, y: 5 } });
    const value = Number(await range.inputValue());
    expect(Math.abs(value - 25)).toBeLessThanOrEqual(3);
  });

  test("the map shows the difference, and says how much it is amplified", async () => {
    await using opened = await openPage(browser, address, { viewport: viewports.desktop });
    const { page } = opened;
    const map = cardOf(page, "different").locator(".map");
    await map.scrollIntoViewIfNeeded();
    await map.locator("text=8 times as strong: the brightest is 32 of 255 or more").waitFor();
    const bright = await page.evaluate<number>(`(() => {
      const canvas = document.querySelector('article[data-verdict="different"] canvas');
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return data.filter((value, i) => i % 4 === 0 && value > 80).length;
    })()`);
    expect(bright).toBeGreaterThan(1000);
    expect(await cardOf(page, "equal").locator(".map").count()).toBe(0);
    expect(await cardOf(page, "equal").locator("text=Every pixel is equal.").count()).toBe(1);
  });

  test("a verdict can be filtered, and a link leads to its picture all the same", async () => {
    await using opened = await openPage(browser, address, { viewport: viewports.phone });
    const { page } = opened;
    await page.getByRole("radio", { name: /^close/ }).focus();
    await page.keyboard.press("Space");
    expect(await page.locator("article:visible").count()).toBe(1);
    expect(await page.getByRole("status").textContent()).toBe("1 of 10 pictures shown.");
    await page.locator(".matrix a.equal").first().click();
    await cardOf(page, "equal").waitFor({ state: "visible" });
    expect(await page.locator("article:visible").count()).toBe(samples.length);
  });

  test("the two can be seen side by side, without a script too", async () => {
    await using opened = await openPage(browser, address, { viewport: viewports.phone });
    const { page } = opened;
    await page.getByRole("radio", { name: "Side by side" }).check();
    await besides(page);
    await using plain = await openPage(browser, address, {
      viewport: viewports.phone,
      javaScriptEnabled: false,
    });
    await besides(plain.page);
    expect(plain.complaints).toEqual([]);
  });

  async function besides(page: Page) {
    const card = cardOf(page, "different");
    const preview = await card.locator(".before img").boundingBox();
    const retake = await card.locator(".after img").boundingBox();
    expect(preview!.y).toBe(retake!.y);
    expect(preview!.x + preview!.width).toBeLessThan(retake!.x);
  }

  test("text of a job is only text", async () => {
    await using opened = await openPage(browser, address, { viewport: viewports.phone });
    const { page } = opened;
    expect(await page.title()).toContain(hostile);
    expect(await page.getByRole("heading", { level: 1 }).textContent()).toBe(`my_cat ${hostile}`);
  });
});
