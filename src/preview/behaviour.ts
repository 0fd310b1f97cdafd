import { InputError } from "../errors.ts";
import type { ProfileName } from "../job/request.ts";
import { profileNames } from "../job/request.ts";
import { eraOfVersion, isOlder } from "../models/eras.ts";
import { profiles } from "../models/profiles.ts";
import type { CachedPrompts } from "./samples.ts";

/** What a version of the trainer did where versions differ. */
export interface Behaviour {
  readonly profile: ProfileName;
  readonly cachedPrompts: CachedPrompts;
  /** The version that it is of; null where only the era is known. */
  readonly version: string | null;
  /** In words, to tell it from the others of the same version. */
  readonly says: string;
}

/** In its course cached prompts got their trigger word: 479c72ad. */
const triggerInCache = "0.10.28";

const newestEra: ProfileName = "preview-0.10.25";

/** The eras, from the newest to the oldest. */
const eraNames: readonly ProfileName[] = profileNames
  .filter((name) => profiles[name].versions !== null)
  .toReversed();

/**
 * All that a version of the trainer may have done, the likely one first.
 *
 * @param version null: any
 * @returns why there is none, for a version that drew no Z-Image previews
 */
export function behavioursOf(
  version: string | null,
  cachesPrompts: boolean,
): readonly Behaviour[] | { readonly none: string } {
  if (version === null) return eraNames.flatMap((name) => behavioursOfEra(name, cachesPrompts));
  const era = eraOfVersion(version);
  if ("none" in era) return era;
  const only = isOlder(version, triggerInCache) === true ? "literal" : "filled";
  const changing = cachesPrompts && isSame(version, triggerInCache);
  const cached: readonly CachedPrompts[] = changing ? ["filled", "literal"] : [only];
  return era.candidates.flatMap(({ name }) =>
    cached.map((cachedPrompts) => ({ profile: name, cachedPrompts, version, says: saysOf(name) })),
  );
}

/** @param asked a profile of an era, or a version of ai-toolkit. @throws InputError for anything else */
export function behavioursAsked(asked: string, cachesPrompts: boolean): readonly Behaviour[] {
  const name = eraNames.find((known) => known === asked);
  if (name !== undefined) return behavioursOfEra(name, cachesPrompts);
  const found = behavioursOf(asked, cachesPrompts);
  if (!("none" in found)) return found;
  throw new InputError(
    `--era ${asked}: ${found.none}. Give a version, as 0.10.25, or one of ${eraNames.join(", ")}.`,
  );
}

function behavioursOfEra(profile: ProfileName, cachesPrompts: boolean): Behaviour[] {
  const both = cachesPrompts && profile === newestEra;
  const cached: readonly CachedPrompts[] = both
    ? ["filled", "literal"]
    : [profile === newestEra ? "filled" : "literal"];
  return cached.map((cachedPrompts) => ({
    profile,
    cachedPrompts,
    version: null,
    says: saysOf(profile),
  }));
}

function saysOf(profile: ProfileName): string {
  const { versions } = profiles[profile];
  return `as versions ${versions!.from} ${versions!.to === null ? "and later" : `to ${versions!.to}`} draw`;
}

function isSame(a: string, b: string): boolean {
  return isOlder(a, b) === false && isOlder(b, a) === false;
}
