import type { ReportSample } from "../wire/report.ts";
import type { Html } from "./html.ts";
import { html } from "./html.ts";
import { cardId, classOf, decibels, icon, placeOf, shortened } from "./report-words.ts";

/** Steps across, samples down: the job at a glance, each cell a link to its pictures. */
export function matrix(samples: readonly ReportSample[]): Html {
  const rowOf = ({ set, index }: ReportSample) => `${set} ${index}`;
  const steps = [...new Set(samples.map(({ step }) => step))].toSorted((a, b) => a - b);
  const rows = Object.entries(Object.groupBy([...samples.entries()], ([, one]) => rowOf(one)));
  const sorted = rows.toSorted(([, a], [, b]) => byRow(a![0]![1], b![0]![1]));
  return html`<section>
<h2>Samples by step</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Samples by step">
<table class="matrix">
<thead><tr><th scope="col">Sample</th>${steps.map((step) => html`<th scope="col">Step ${step}</th>`)}</tr></thead>
<tbody>${sorted.map(([, row]) => matrixRow(row!, steps))}</tbody>
</table>
</div>
</section>`;
}

type Entry = readonly [position: number, sample: ReportSample];

function byRow(a: ReportSample, b: ReportSample): number {
  if (a.set !== b.set) return a.set === "first_sample" ? -1 : 1;
  return a.index - b.index;
}

function matrixRow(row: readonly Entry[], steps: readonly number[]): Html {
  const [, { index, set }] = row[0]!;
  const prompt = row.map(([, { settings }]) => settings.prompt).find((text) => text !== undefined);
  const first = set === "first_sample" ? "first " : "";
  const cells = steps.map((step) => {
    const entries = row.filter(([, sample]) => sample.step === step);
    return html`<td>${entries.map(cell)}</td>`;
  });
  return html`<tr><th scope="row">${first}${index} <span class="prompted" dir="auto">${shortened(prompt ?? "", 60)}</span></th>${cells}</tr>`;
}

function cell([position, sample]: Entry): Html {
  const { verdict, psnr, max_difference } = sample;
  const figure =
    psnr === null || max_difference === 0 ? null : html`<small>${decibels(psnr)}</small>`;
  return html`<a class="cell tinted ${classOf(verdict)}" href="#${cardId(position)}" title="${placeOf(sample)}">${icon(verdict)}${verdict}${figure}</a>`;
}
