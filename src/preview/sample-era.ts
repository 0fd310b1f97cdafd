import type { Behaviour } from "./behaviour.ts";
import { behavioursAsked, behavioursOf } from "./behaviour.ts";
import type { JobFolder } from "./job-folder.ts";
import type { RoundEra } from "./runs.ts";
import type { Target } from "./targets.ts";

/** What the trainer may have done when it drew a picture, the likely first, and how that is known. */
export interface SampleEra {
  readonly behaviours: readonly Behaviour[];
  /** Follows "because". */
  readonly reason: string;
}

/** @param asked in place of what the files say. @throws InputError if it is no era */
export function eraOf(
  { config, loras, only }: JobFolder,
  { preview }: Target,
  eras: readonly RoundEra[],
  asked: string | undefined,
): SampleEra {
  if (asked !== undefined) {
    return { behaviours: behavioursAsked(asked, config), reason: `era ${asked} was asked for` };
  }
  const own = only !== null && "lora" in only ? loras.find(({ file }) => file === only.lora) : null;
  const era: RoundEra =
    preview === null
      ? { versions: [own?.trainerVersion ?? null], reason: `${own?.file} says so` }
      : eras[preview.round]!;
  const known = era.versions.map((version) => behavioursOf(version, config));
  const behaviours = distinct(known.flatMap((found) => ("none" in found ? [] : found)));
  if (behaviours.length > 0) return { behaviours, reason: era.reason };
  const why = known.flatMap((found) => ("none" in found ? [found.none] : []));
  const any = behavioursOf(null, config) as readonly Behaviour[]; // any version has some
  return { behaviours: any, reason: `${era.reason}, but ${why.join(", ")}` };
}

function distinct(behaviours: readonly Behaviour[]): Behaviour[] {
  const key = (one: Behaviour) => [one.profile, one.cachedPrompts, one.embedders].join();
  return [...new Map(behaviours.map((one) => [key(one), one])).values()];
}
