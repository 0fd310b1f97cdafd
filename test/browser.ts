import { existsSync } from "node:fs";
import axe from "axe-core";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { chromium } from "playwright-core";

// A real browser for pages: the system's Chromium. Nothing is downloaded for it.

const places = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];
const installed = places.find((place) => existsSync(place));
if (installed === undefined) {
  process.stderr.write(
    "There is no Chromium: tests of pages are skipped. Install it to run them.\n",
  );
}

/** For `describe.skipIf`. */
export const noBrowser: boolean = installed === undefined;

export function openBrowser(): Promise<Browser> {
  return chromium.launch({
    ...(installed === undefined ? {} : { executablePath: installed }),
    // Chromium's own sandbox does not run as root.
    args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
  });
}

/** Widths that every page must fit: a phone's and a desktop's. */
export const viewports = {
  phone: { width: 390, height: 844 },
  desktop: { width: 1280, height: 900 },
} as const;

/** A page that is closed with its context when it is disposed of. */
export interface WatchedPage extends AsyncDisposable {
  readonly page: Page;
  /** What the console, the page's script and its policy complained about. */
  readonly complaints: readonly string[];
  /** Addresses that were asked for, but for the page's own and what it holds itself. */
  readonly requests: readonly string[];
}

/** Opens a page in a context of its own. Nothing moves by itself there: a place that was measured stays. */
export async function openPage(
  browser: Browser,
  address: string,
  options: BrowserContextOptions,
): Promise<WatchedPage> {
  const context = await browser.newContext({ reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  const complaints: string[] = [];
  const requests: string[] = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("request", (request) => {
    const url = request.url();
    if (url !== address && !url.startsWith("data:")) requests.push(url);
  });
  await page.goto(address);
  return { page, complaints, requests, [Symbol.asyncDispose]: () => context.close() };
}

/** By how many pixels a page is wider than its window. */
export function overflowOf(page: Page): Promise<number> {
  return page.evaluate<number>("document.documentElement.scrollWidth - innerWidth");
}

/** What axe finds wrong, as `rule: element`. */
export async function axeViolations(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const found = await page.evaluate<{ id: string; nodes: { target: string[] }[] }[]>(
    "axe.run().then(({ violations }) => violations.map(({ id, nodes }) => ({ id, nodes: nodes.map(({ target }) => ({ target })) })))",
  );
  return found.flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target.join(" ")}`));
}
