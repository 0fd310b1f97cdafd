import { mostPsnr } from "../image/compare.ts";
import type { ReportCause, ReportSample } from "../wire/report.ts";
import type { Html } from "./html.ts";
import { html } from "./html.ts";
import type { ShownPair, ShownPicture } from "./report-pictures.ts";
import { briefSettings, settingsList } from "./report-settings.ts";
import { asSentence, classOf, decibels, icon, placeOf, shortened } from "./report-words.ts";

/** Up to this side pictures are drawn larger than they are, with sharp pixels. */
const smallSide = 320;

/** One preview beside its retake, with all that is known about the two. */
export function card(sample: ReportSample, id: string, pair: ShownPair): Html {
  const { verdict, settings, reason, causes } = sample;
  const place = placeOf(sample);
  return html`
<article class="card ${classOf(verdict)}" id="${id}" data-verdict="${verdict}" aria-labelledby="${id}-name">
<header>
<span class="badge tinted">${icon(verdict)}${verdict}</span>
<h3 id="${id}-name">${asSentence(place)}</h3>
<p class="numbers">${figures(sample)}</p>
</header>
<div class="inside">
<div class="pictures">
${pictures(sample, pair)}
</div>
<div class="facts">
${settings.prompt === undefined ? null : html`<p class="prompt" dir="auto">${settings.prompt}</p>`}
<p class="brief">${briefSettings(sample)}</p>
${reason === null ? null : html`<p class="cause tinted">${asSentence(reason)}</p>`}
${verdict === "equal" ? null : causeList(sample)}
<details>
<summary>Settings and why</summary>
${settingsList(sample)}
</details>
${causes.length > 1 ? moreCauses(sample) : null}
</div>
</div>
</article>`;
}

function figures({ psnr, ssim, max_difference }: ReportSample): string {
  if (psnr === null) return "";
  if (max_difference === 0) return "PSNR at least 100 dB · SSIM 1 · no difference";
  const similar = ssim === null ? "" : ` · SSIM ${ssim.toFixed(4)}`;
  return `PSNR ${decibels(psnr)}${similar} · largest difference ${max_difference} of 255`;
}

function causeList({ causes, verdict, psnr }: ReportSample): Html | null {
  const [first] = causes;
  if (first !== undefined) {
    return html`<p class="cause tinted"><strong>Likely cause</strong>${causeText(first)} ${effectOf(first, psnr)}</p>`;
  }
  if (verdict !== "different") return null;
  return html`<p class="cause tinted"><strong>Likely cause</strong>None of the settings that were tried brings it nearer.</p>`;
}

function moreCauses({ causes, psnr }: ReportSample): Html {
  return html`<details>
<summary>What else brings it nearer</summary>
<ul class="more">${causes.slice(1).map((cause) => html`<li>${causeText(cause)} ${effectOf(cause, psnr)}</li>`)}</ul>
</details>`;
}

/** What was changed, and how to change it. */
export function causeText({
  factor,
  value,
  sentence,
  flag,
}: Pick<ReportCause, "factor" | "value" | "sentence" | "flag">): Html {
  const said = asSentence(sentence ?? `${factor}: ${String(value)}`).replace(/[.]$/, "");
  const change = flag === undefined || flag === null ? null : html` (<code>${flag}</code>)`;
  return html`${said}${change}.`;
}

/** How near the picture is then. @param before in dB; null: the sizes differed */
function effectOf({ psnr, gain }: ReportCause, before: number | null): string {
  if (psnr >= mostPsnr) return "Then it is equal.";
  const nearer = gain === undefined || before === null ? "" : `, ${gain.toFixed(1)} dB nearer`;
  return `Then it is at ${decibels(psnr)}${nearer}.`;
}

function pictures(sample: ReportSample, { preview, retake }: ShownPair): Html {
  const place = placeOf(sample);
  const prompt = sample.settings.prompt ?? "";
  const about = prompt === "" ? place : `${place}: ${shortened(prompt, 200)}`;
  const both = isShown(preview) && isShown(retake) && sameSize(preview, retake);
  const small = [preview, retake].every((one) => !isShown(one) || isSmall(one)) ? "small" : "";
  return html`<div class="pair ${small} ${both ? "both" : ""}">
${figure(preview, "before", "Preview", `Preview, ${about}`)}
${figure(retake, "after", "Retake", `Retake, ${about}`)}
${both ? slider(place) : null}
</div>
${both ? difference(sample, small, preview) : null}`;
}

function slider(place: string): Html {
  return html`<div class="slide">
<input type="range" min="0" max="100" value="50" aria-label="Where the retake begins, from the left: ${place}">
<span class="edge" aria-hidden="true"><span class="knob">&#x2194;</span></span>
</div>`;
}

function figure(
  picture: ShownPicture | string | null,
  name: string,
  caption: string,
  alternative: string,
): Html | null {
  if (picture === null) return null;
  const inside = isShown(picture)
    ? html`<img src="${picture.address}" width="${picture.width}" height="${picture.height}" alt="${alternative}" decoding="async">`
    : html`<p class="missing">${picture}</p>`;
  return html`<figure class="${name}">${inside}<figcaption>${caption}${isShown(picture) && picture.reduced ? ", reduced" : ""}</figcaption></figure>`;
}

/** The page's script draws the map: as a picture of its own it would double the file. */
function difference(
  { max_difference, verdict }: ReportSample,
  small: string,
  { width, height }: ShownPicture,
): Html {
  if (max_difference === 0) {
    return html`<p class="same tinted">${icon(verdict)}Every pixel is equal.</p>`;
  }
  return html`<figure class="map ${small}">
<canvas width="${width}" height="${height}" role="img" aria-label="Difference"></canvas>
<figcaption><span class="scale" aria-hidden="true"></span> <span class="says">Difference</span></figcaption>
</figure>`;
}

function isShown(picture: ShownPicture | string | null): picture is ShownPicture {
  return picture !== null && typeof picture === "object";
}

function isSmall({ width, height }: ShownPicture): boolean {
  return Math.max(width, height) <= smallSide;
}

function sameSize(a: ShownPicture, b: ShownPicture): boolean {
  return a.width === b.width && a.height === b.height;
}
