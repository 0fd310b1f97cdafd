import type { ReportSample, Verdict } from "../wire/report.ts";
import type { Html } from "./html.ts";
import { html } from "./html.ts";

// How the page names things. A verdict is a word, an icon and a colour.

/** What each verdict means, for the page's end. */
export const verdictMeanings: Readonly<Record<Verdict, string>> = {
  equal: "the same picture: what is left is the rounding of its file format",
  close: "the same picture but for rounding: the job ran in bf16 or with rounded weights",
  different: "another picture: a setting, the LoRA or the model is not the one of the preview",
  "not reproducible": "it can't be drawn again, for the reason that stands with it",
  "no preview": "drawn, but there is no preview to compare it with",
};

/** Drawn in a square of 24. */
const iconPaths: Readonly<Record<Verdict, string>> = {
  equal: "M5 13l4.5 4.5L19 7",
  close: "M4 10c3-4 5-4 8-1.5s5 2.500 8-1.500M4 17c3-4 5-4 8-1.500s5 2.500 8-1.500",
  different: "M5 9h14M5 15h14M16 4L8 20",
  "not reproducible": "M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18M5.700 5.700l12.600 12.600",
  "no preview": "M4 5h16v14H4zM9 12h6",
};

export function classOf(verdict: Verdict): string {
  return verdict.replaceAll(" ", "-");
}

/** The icons, to be used by `icon`. */
export function iconSheet(): Html {
  const symbols = Object.entries(iconPaths).map(
    ([verdict, path]) =>
      html`<symbol id="i-${classOf(verdict as Verdict)}" viewBox="0 0 24 24"><path d="${path}"/></symbol>`,
  );
  return html`<svg class="hidden" aria-hidden="true">${symbols}</svg>`;
}

export function icon(verdict: Verdict): Html {
  return html`<svg class="icon" aria-hidden="true"><use href="#i-${classOf(verdict)}"/></svg>`;
}

/** The address of a sample's card in its page. @param position in the report, from 0 */
export function cardId(position: number): string {
  return `picture-${position + 1}`;
}

/** `step 2000, sample 1`. */
export function placeOf({
  step,
  index,
  set,
}: Pick<ReportSample, "step" | "index" | "set">): string {
  const first = set === "first_sample" ? "first " : "";
  return `step ${step}, ${first}sample ${index}`;
}

/** `41.2 dB`. */
export function decibels(psnr: number): string {
  return `${psnr.toFixed(1)} dB`;
}

/** Reasons are parts of sentences; here they stand alone. */
export function asSentence(text: string): string {
  // The name of a file keeps its letters.
  const begins = /^\p{Ll}[\p{L}'-]*(?=[\s,:]|$)/u.test(text);
  return begins ? text.charAt(0).toUpperCase() + text.slice(1) : text;
}

/** A text's beginning, where there is little room for it. */
export function shortened(text: string, most: number): string {
  const characters = [...text];
  if (characters.length <= most) return text;
  return `${characters
    .slice(0, most - 1)
    .join("")
    .trimEnd()}…`;
}
