import type { ReportSample } from "../wire/report.ts";
import type { PictureCauses } from "./explain-job.ts";
import type { PlannedSample, Reading } from "./plan.ts";
import { asSentence } from "./report-words.ts";
import type { Taken } from "./studio.ts";

/** What came of one picture. */
export interface Outcome extends Taken {
  /** How it was drawn; null: not at all. */
  readonly reading: Reading | null;
  /** How it was found out in which way it was drawn, where there were several; null where there were not. */
  readonly decided: string | null;
}

/**
 * A picture's entry in the report.
 *
 * @param guess how the base model was found out, or null
 * @param found what explains a difference; left out: nothing was looked for
 */
export function reportSample(
  planned: PlannedSample,
  outcome: Outcome,
  guess: string | null,
  { causes, note }: PictureCauses = { causes: [], note: null },
): ReportSample {
  const { reading, picture, settings, judgement, reason, decided } = outcome;
  const { preview, step, index, set, profile, profileReason, roundingReason, lora } = planned;
  const verdict = verdictOf(planned, outcome);
  const doubt = verdict === "not reproducible" ? planned.doubt : null;
  return {
    preview: preview?.file ?? null,
    picture,
    step,
    index,
    set,
    era: reading?.profile ?? profile,
    as_trained: settings.as_trained ?? null,
    verdict,
    psnr: judgement?.psnr ?? null,
    ssim: judgement?.ssim ?? null,
    max_difference: judgement?.maxDifference ?? null,
    reason: sentence(reason ?? doubt ?? judgement?.reason ?? note),
    settings,
    why: {
      era: decided === null ? profileReason : `${profileReason}; ${decided}`,
      as_trained: roundingReason,
      ...(guess === null ? {} : { model: guess }),
      ...(lora === null ? {} : { lora: `${lora.file} is of step ${lora.step}` }),
    },
    causes,
  };
}

/** Another configuration's picture is none that could be drawn, unless it is. */
export function verdictOf(
  { preview, doubt }: PlannedSample,
  { judgement, reason }: Outcome,
): ReportSample["verdict"] {
  if (judgement !== null) {
    const isOther = judgement.verdict === "different" && doubt !== null;
    return isOther ? "not reproducible" : judgement.verdict;
  }
  return preview === null && reason === null ? "no preview" : "not reproducible";
}

function sentence(reason: string | null): string | null {
  if (reason === null) return null;
  return asSentence(/[.!?]$/.test(reason) ? reason : `${reason}.`);
}
