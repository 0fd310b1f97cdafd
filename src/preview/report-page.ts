import { createHash } from "node:crypto";
import type { Report, ReportSample, Verdict } from "../wire/report.ts";
import { verdicts } from "../wire/report.ts";
import { Html, html } from "./html.ts";
import { causeText } from "./report-card.ts";
import { matrix } from "./report-matrix.ts";
import {
  asSentence,
  cardId,
  classOf,
  icon,
  iconSheet,
  placeOf,
  verdictMeanings,
} from "./report-words.ts";

/** What the page's head and foot need beside the report. */
export interface PageParts {
  readonly style: string;
  readonly script: string;
}

/** From here on a browser lays out only what is in sight. */
const manyCards = 100;

/** All that stands before the cards. */
export function pageStart(report: Report, { style, script }: PageParts): Html {
  const { job, retake, trainer_versions, summary, samples, notes } = report;
  // Nothing is loaded from anywhere, and nothing runs but what stands here.
  const policy = [
    "default-src 'none'",
    "img-src data:",
    `style-src 'sha256-${sha256(style)}'`,
    `script-src 'sha256-${sha256(script)}'`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  const versions = trainer_versions.map((version) => `v${version}`).join(" and ");
  const made = versions === "" ? "" : `${versions}, `;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light dark">
<title>${job}: ${summary.sentence}</title>
<style>${new Html(style)}</style>
</head>
<body>
<a class="skip" href="#pictures">Skip to the pictures</a>
${iconSheet()}
<header class="top wide">
<p class="kicker">Training previews taken again by Retake ${retake}</p>
<h1 dir="auto">${job}</h1>
<p class="answer">${made}${summary.sentence}</p>
<ul class="tally">${tally(report)}</ul>
${share(report)}
${commonCause(report)}
${report.finished ? null : html`<p class="note">The report is not finished: run the same command again to go on.</p>`}
${notes.map((note) => html`<p class="note">${asSentence(note)}</p>`)}
</header>
<main class="wide">
${firstToSee(report)}
${samples.length === 0 ? null : matrix(samples)}
${tools(samples)}
<section id="pictures" class="${samples.length > manyCards ? "many" : ""}" data-view="side" tabindex="-1">
<h2>Each preview and its retake</h2>
<p id="shown" class="only-read" role="status"></p>
${samples.length === 0 ? html`<p class="none">There is no picture yet.</p>` : null}`;
}

/** All that stands behind them. */
export function pageEnd({ script }: PageParts): Html {
  return html`
</section>
</main>
<footer class="wide">
<h2>What the words mean</h2>
<dl class="meanings">${verdicts.map((verdict) => html`<dt class="${classOf(verdict)}">${icon(verdict)}${verdict}</dt><dd>${verdictMeanings[verdict]}</dd>`)}</dl>
<p>A preview is compared with its retake as the trainer would have saved it, in the same format. PSNR counts
the pixels' differences in decibels, more is nearer; SSIM compares structure, 1 is equal. The slider moves with the
arrow keys; Home shows the retake alone, End the preview.</p>
</footer>
<script>${new Html(script)}</script>
</body>
</html>
`;
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("base64");
}

function counts({ summary }: Report): [Verdict, number][] {
  return [
    ["equal", summary.equal],
    ["close", summary.close],
    ["different", summary.different],
    ["not reproducible", summary.not_reproducible],
    ["no preview", summary.no_preview],
  ];
}

function tally(report: Report): Html[] {
  return counts(report)
    .filter(([, count]) => count > 0)
    .map(
      ([verdict, count]) =>
        html`<li class="tinted ${classOf(verdict)}"><b>${count}</b> <span>${icon(verdict)}${verdict}</span></li>`,
    );
}

/** The same as a bar. */
function share(report: Report): Html | null {
  const all = report.samples.length;
  if (all === 0) return null;
  let from = 0;
  const parts = counts(report).map(([verdict, count]) => {
    const part = html`<rect class="${classOf(verdict)}" x="${from}" width="${count}" height="1"/>`;
    from += count;
    return part;
  });
  return html`<svg class="share" viewBox="0 0 ${all} 1" preserveAspectRatio="none" aria-hidden="true">${parts}</svg>`;
}

function commonCause({ summary: { cause } }: Report): Html | null {
  if (cause === undefined || cause === null) return null;
  const { explained, different } = cause;
  return html`<p class="cause tinted different note"><strong>Likely cause of ${explained} of the ${different} pictures that differ</strong>${causeText(cause)}</p>`;
}

/** More of one kind are not listed one by one. */
const mostPlaces = 12;

/** What isn't as it was, what is the same of several pictures said once. */
function firstToSee({ samples, summary }: Report): Html | null {
  const groups = new Map<string, { says: Html; verdict: Verdict; places: Html[] }>();
  for (const [position, sample] of samples.entries()) {
    const { verdict, reason, causes } = sample;
    if (verdict !== "different" && verdict !== "not reproducible") continue;
    const [cause] = causes;
    const key = JSON.stringify([verdict, cause?.sentence ?? cause ?? reason]);
    const says =
      cause === undefined
        ? html`${asSentence(reason ?? "no setting that was tried brings it nearer.")}`
        : cause.sentence !== undefined && cause.sentence === summary.cause?.sentence
          ? html`The likely cause is the one above.`
          : html`Likely cause: ${causeText(cause)}`;
    const group = groups.get(key) ?? { says, verdict, places: [] };
    group.places.push(html`<a href="#${cardId(position)}">${placeOf(sample)}</a>`);
    groups.set(key, group);
  }
  if (groups.size === 0) return null;
  const sorted = [...groups.values()].toSorted(
    (a, b) =>
      verdicts.indexOf(a.verdict) - verdicts.indexOf(b.verdict) ||
      b.places.length - a.places.length,
  );
  return html`<section class="first">
<h2>Look at these first</h2>
<ul>${sorted.map(
    ({ says, verdict, places }) =>
      html`<li class="${classOf(verdict)}">${icon(verdict)}<div><strong>${places.length} ${verdict}.</strong> ${says}<p class="places">${listed(places)}</p></div></li>`,
  )}</ul>
</section>`;
}

function listed(places: readonly Html[]): Html[] {
  const shown = places.slice(0, mostPlaces);
  const more = places.length - shown.length;
  const items = shown.map((place, i) => html`${i === 0 ? "" : "; "}${place}`);
  return more === 0 ? items : [...items, html`; and ${more} more`];
}

function tools(samples: readonly ReportSample[]): Html | null {
  if (samples.length === 0) return null;
  const present = verdicts.filter((verdict) => samples.some((one) => one.verdict === verdict));
  const filters = present.map((verdict) => {
    const count = samples.filter((one) => one.verdict === verdict).length;
    return choice("verdict", verdict, html`${icon(verdict)}${verdict} ${count}`, false);
  });
  return html`<div class="tools">
<fieldset><legend class="only-read">Pictures</legend>
${choice("verdict", "all", html`All ${samples.length}`, true)}
${filters}
</fieldset>
<fieldset><legend class="only-read">View</legend>
${choice("view", "slider", html`Slider`, true)}
${choice("view", "side", html`Side by side`, false)}
</fieldset>
</div>`;
}

function choice(name: string, value: string, label: Html, chosen: boolean): Html {
  const checked = chosen ? html` checked` : null;
  return html`<label><input type="radio" name="${name}" value="${value}"${checked}><span>${label}</span></label>`;
}
