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
  return stretchesOf(rounds).flatMap(({ before, open, after }) => {
    const between = eraBetween(before, open, after);
    const eras = open.map((round) =>
      someThumbnails ? byThumbnails(between(round), round) : between(round),
    );
    return after === undefined ? eras : [...eras, ownEra(after)];
  });
}

function ownEra({ version, lora }: Round): RoundEra {
  return { versions: [version], reason: `its LoRA ${lora} was saved by ai-toolkit ${version}` };
}

/** Rounds that no LoRA tells the version of, between two that one does; undefined at the job's ends. */
interface Stretch {
  readonly before: Round | undefined;
  readonly open: readonly Round[];
  readonly after: Round | undefined;
}

function stretchesOf(rounds: readonly Round[]): Stretch[] {
  const stretches: Stretch[] = [];
  let before: Round | undefined;
  let open: Round[] = [];
  for (const round of rounds) {
    if (round.version === null) {
      open.push(round);
      continue;
    }
    stretches.push({ before, open, after: round });
    before = round;
    open = [];
  }
  return [...stretches, { before, open, after: undefined }];
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

/** @returns what is known of each round of a stretch */
function eraBetween(
  before: Round | undefined,
  open: readonly Round[],
  after: Round | undefined,
): (round: Round) => RoundEra {
  const one = before ?? after;
  if (one === undefined) {
    return () => ({ versions: [null], reason: "no LoRA of the job says which version trained it" });
  }
  const said = (other: Round) => `the LoRA of step ${other.step} was saved by ${other.version}`;
  if (before === undefined || after === undefined || before.version === after.version) {
    const reason = `it has no LoRA of its own, and ${said(one)}`;
    return () => ({ versions: [one.version], reason });
  }
  const restart = restartIn([before, ...open, after]);
  return ({ savedAt }) => {
    const [near, far] = savedAt < restart ? [before, after] : [after, before];
    return {
      versions: [near.version, far.version],
      reason:
        `it has no LoRA of its own, ${said(before)} and ${said(after)}, ` +
        `and in time it stands with step ${near.step}`,
    };
  };
}

/** When the trainer was started again: at the end of the longest pause. */
function restartIn(rounds: readonly Round[]): number {
  const pauses = rounds.slice(1).map(({ savedAt }, i) => ({
    length: savedAt - rounds[i]!.savedAt,
    end: savedAt,
  }));
  return pauses.reduce((longest, pause) => (pause.length > longest.length ? pause : longest)).end;
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
