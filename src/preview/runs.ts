import { isOlder } from "../models/eras.ts";
import type { JobFolder } from "./job-folder.ts";
import type { PreviewFile } from "./preview-files.ts";
import type { TrainedLora } from "./trained-loras.ts";

/** Which versions of the trainer may have drawn a round of pictures. */
export interface RoundEra {
  /** The likely one first; null: any, as nothing tells it. */
  readonly versions: readonly (string | null)[];
  /** How that is known: what follows "because". */
  readonly reason: string;
}

interface Round {
  readonly step: number;
  /** Milliseconds since 1970. */
  readonly savedAt: number;
  readonly hasThumbnails: boolean;
  /** By the LoRA that was saved with it. */
  readonly version: string | null;
  readonly lora: string | null;
}

/** The first version that made thumbnails: efb58c86. */
const firstWithThumbnails = "0.11.1";

/** The LoRA of a step: the trainer's own names before others, usable before damaged. */
export function loraOfStep({ loras, name }: JobFolder, step: number): TrainedLora | null {
  const own = (file: string) => file === `${name}.safetensors` || file.startsWith(`${name}_`);
  const rank = ({ file, unusable }: TrainedLora) =>
    (own(file) ? 0 : 1) + (unusable === null ? 0 : 2);
  const [best] = loras.filter((lora) => lora.step === step).toSorted((a, b) => rank(a) - rank(b));
  return best ?? null;
}

/**
 * Which version drew each round. A LoRA's header tells it of the round at its step. Rounds without one
 * lie in time between others: a folder holds two eras where a job went on after an update.
 */
export function erasOfRounds(job: JobFolder): RoundEra[] {
  const rounds = roundsOf(job);
  const someThumbnails = rounds.some(({ hasThumbnails }) => hasThumbnails);
  return rounds.map((round, at) => {
    if (round.version !== null) {
      return {
        versions: [round.version],
        reason: `its LoRA ${round.lora} was saved by ai-toolkit ${round.version}`,
      };
    }
    const before = rounds.slice(0, at).findLast(({ version }) => version !== null);
    const after = rounds.slice(at).find(({ version }) => version !== null);
    const found = between(rounds, round, before, after);
    return someThumbnails ? byThumbnails(found, round) : found;
  });
}

/** Of two rounds at one step the later one stands beside the LoRA. */
function roundsOf(job: JobFolder): Round[] {
  const firsts: PreviewFile[] = [];
  const thumbnails: boolean[] = [];
  for (const preview of job.previews) {
    firsts[preview.round] ??= preview;
    thumbnails[preview.round] = thumbnails[preview.round] === true || preview.hasThumbnail;
  }
  const lastOfStep = new Map(firsts.map(({ step }, i) => [step, i]));
  return firsts.map(({ step, savedAt }, i) => {
    const lora = lastOfStep.get(step) === i ? loraOfStep(job, step) : null;
    return {
      step,
      savedAt,
      hasThumbnails: thumbnails[i] === true,
      version: lora?.trainerVersion ?? null,
      lora: lora?.file ?? null,
    };
  });
}

function between(
  rounds: readonly Round[],
  round: Round,
  before: Round | undefined,
  after: Round | undefined,
): RoundEra {
  const one = before ?? after;
  if (one === undefined) {
    return { versions: [null], reason: "no LoRA of the job says which version trained it" };
  }
  const said = (other: Round) => `the LoRA of step ${other.step} was saved by ${other.version}`;
  if (before === undefined || after === undefined || before.version === after.version) {
    return { versions: [one.version], reason: `it has no LoRA of its own, and ${said(one)}` };
  }
  const isBefore = round.savedAt < restartBetween(rounds, before, after);
  const [near, far] = isBefore ? [before, after] : [after, before];
  return {
    versions: [near.version, far.version],
    reason:
      `it has no LoRA of its own, ${said(before)} and ${said(after)}, ` +
      `and in time it stands with step ${near.step}`,
  };
}

/** When the trainer was started again: at the end of the longest pause. */
function restartBetween(rounds: readonly Round[], before: Round, after: Round): number {
  const span = rounds.slice(rounds.indexOf(before), rounds.indexOf(after) + 1);
  const pauses = span.slice(1).map(({ savedAt }, i) => savedAt - span[i]!.savedAt);
  const longest = pauses.indexOf(Math.max(...pauses));
  return span[longest + 1]!.savedAt;
}

/** A thumbnail tells which side of 0.11.1 drew the picture, whatever its neighbours say. */
function byThumbnails(found: RoundEra, { hasThumbnails }: Round): RoundEra {
  const fits = (version: string | null) =>
    version !== null && isOlder(version, firstWithThumbnails) === !hasThumbnails;
  const [likely] = found.versions;
  if (likely === undefined || fits(likely)) return found;
  const other = found.versions.find(fits) ?? (hasThumbnails ? firstWithThumbnails : null);
  const sight = hasThumbnails ? "it has a thumbnail" : "it has no thumbnail while others have";
  return {
    versions: likely === null ? [other] : [other, likely],
    reason: `${found.reason}; ${sight}, which versions make from ${firstWithThumbnails} on`,
  };
}
