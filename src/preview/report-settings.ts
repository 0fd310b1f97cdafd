import type { ReportSample } from "../wire/report.ts";
import type { Html } from "./html.ts";
import { html } from "./html.ts";

/** What `why` explains, by the row that it stands with. */
const whyRows = new Map([
  ["era", "Era"],
  ["as_trained", "Weights"],
  ["lora", "LoRA"],
]);

/** The settings that a picture was drawn with, and why it was those. */
export function settingsList(sample: ReportSample): Html {
  const { why } = sample;
  const rows = rowsOf(sample).filter(([, value]) => value !== undefined && value !== "");
  const explained = new Set(whyRows.values());
  const rest = Object.entries(why).filter(([about]) => !whyRows.has(about));
  const reasons = new Map(
    Object.entries(why).flatMap(([about, text]) => {
      const row = whyRows.get(about);
      return row === undefined ? [] : [[row, text] as const];
    }),
  );
  const known = rows.map(([name]) => name);
  const missing = [...explained].filter((name) => reasons.has(name) && !known.includes(name));
  return html`<dl class="settings">
${rows.map(([name, value]) => row(name, value!, reasons.get(name)))}
${missing.map((name) => row(name, "none", reasons.get(name)))}
${rest.map(([about, text]) => row(about, text, undefined))}
</dl>`;
}

/** The settings in a line. */
export function briefSettings({ settings, era }: ReportSample): string {
  const { width, height, seed, num_inference_steps, guidance_scale, loras } = settings;
  const [lora] = loras ?? [];
  return [
    width === undefined ? null : `${width} x ${height}`,
    num_inference_steps === undefined ? null : `${num_inference_steps} steps`,
    guidance_scale === undefined ? null : `guidance ${guidance_scale}`,
    seed === undefined ? null : `seed ${seed}`,
    lora === undefined ? null : `LoRA at ${lora.network_multiplier}`,
    era,
  ]
    .filter((part) => part !== null)
    .join(" · ");
}

function row(name: string, value: string, why: string | undefined): Html {
  const because = why === undefined ? null : html`<span class="why">${why}</span>`;
  return html`<dt>${name}</dt><dd dir="auto">${value}${because}</dd>`;
}

function rowsOf({ settings, era, as_trained, preview, picture }: ReportSample) {
  const { width, height, guidance_scale, standard_cfg, num_inference_steps, sigmas } = settings;
  const updates = sigmas === undefined ? undefined : updatesOf(sigmas);
  const rows: [string, string | undefined][] = [
    ["Preview", preview ?? undefined],
    ["Retake", picture ?? undefined],
    ["Era", era ?? undefined],
    ["Model", settings.model],
    ["Weights", weightsText(as_trained)],
    ["LoRA", settings.loras?.map(loraText).join(", ")],
    ["Negative prompt", settings.negative_prompt],
    ["Size", width === undefined ? undefined : `${width} x ${height}`],
    ["Seed", settings.seed === undefined ? undefined : String(settings.seed)],
    ["Steps", stepsText(num_inference_steps, updates)],
    ["Guidance", guidanceText(guidance_scale, standard_cfg)],
    ["Sigmas", sigmas?.map((sigma) => String(Number(sigma.toFixed(4)))).join(" ")],
  ];
  return rows;
}

function weightsText(asTrained: ReportSample["as_trained"]): string {
  if (asTrained === null) return "as stored";
  const { transformer, text_encoder, embedders, training_adapter } = asTrained;
  const adapter = training_adapter === null ? "" : `, with ${training_adapter} merged`;
  const rest = embedders ? ", its embedders too" : "";
  return `rounded as in training: transformer ${transformer}${rest}, text encoder ${text_encoder}${adapter}`;
}

function loraText({ name, network_multiplier, sha256 }: LoraRow): string {
  return `${name ?? sha256.slice(0, 12)} at ${network_multiplier}`;
}

type LoraRow = NonNullable<ReportSample["settings"]["loras"]>[number];

function stepsText(steps: number | undefined, updates: number | undefined): string | undefined {
  if (steps === undefined) return undefined;
  if (updates === undefined || updates === steps) return String(steps);
  return `${steps}, which make ${updates} ${updates === 1 ? "update" : "updates"}`;
}

/** Steps between equal sigmas change nothing. */
function updatesOf(sigmas: readonly number[]): number {
  return sigmas.filter((sigma, i) => i > 0 && sigma !== sigmas[i - 1]).length;
}

function guidanceText(guidance: number | undefined, cfg: number | undefined): string | undefined {
  if (guidance === undefined) return undefined;
  if (cfg === undefined) return String(guidance);
  return cfg === 1 ? `${guidance}, which is none here` : `${guidance}, which is a CFG of ${cfg}`;
}
