import { InputError } from "../errors.ts";
import type { ProfileName } from "../job/request.ts";
import { profileNames } from "../job/request.ts";
import { eraOfVersion, isOlder } from "../models/eras.ts";
import { profiles } from "../models/profiles.ts";
import type { JobConfig } from "./job-config.ts";
import type { CachedPrompts } from "./samples.ts";

/** What a version of the trainer did where versions differ. */
export interface Behaviour {
  readonly profile: ProfileName;
  readonly cachedPrompts: CachedPrompts;
  /** The version that it is of, or of the era's first; null: the newest. */
  readonly version: string | null;
  /** Whether a quantised job rounded the transformer's embedders too; null: as its version says. */
  readonly embedders: boolean | null;
  /** In words, to tell it from the others. */
  readonly says: string;
}

/** In its course cached prompts got their trigger word: 479c72ad. */
const triggerInCache = "0.10.28";

/**
 * In its course the embedders stayed as they are (28f2c0ac; torchao's e28727d5), and after that
 * N steps came to make N updates (3e6bd874).
 */
const embeddersKept = "0.10.24";

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
  config: JobConfig,
): readonly Behaviour[] | { readonly none: string } {
  if (version === null) return eraNames.flatMap((name) => behavioursOfEra(name, config));
  const era = eraOfVersion(version);
  if ("none" in era) return era;
  const filled = isOlder(version, triggerInCache) === false;
  const changing = config.cachesPrompts && isSame(version, triggerInCache);
  const inCourse = config.model.quantize && isSame(version, embeddersKept);
  return era.candidates.flatMap(({ name }) => {
    const both = inCourse && profiles[name].schedule === "pin";
    return behavioursWith(
      name,
      version,
      changing ? ["filled", "literal"] : [filled ? "filled" : "literal"],
      both ? embeddersInCourse(config) : [inCourse ? false : null],
    );
  });
}

/** @param asked a profile of an era, or a version of ai-toolkit. @throws InputError for anything else */
export function behavioursAsked(asked: string, config: JobConfig): readonly Behaviour[] {
  const name = eraNames.find((known) => known === asked);
  if (name !== undefined) return behavioursOfEra(name, config);
  const found = behavioursOf(asked, config);
  if (!("none" in found)) return found;
  throw new InputError(
    `era ${asked}: ${found.none}. Give a version, as 0.10.25, or one of ${eraNames.join(", ")}.`,
  );
}

function behavioursOfEra(profile: ProfileName, { cachesPrompts }: JobConfig): Behaviour[] {
  const { from, to } = profiles[profile].versions!;
  const isNewest = profile === newestEra;
  const cached: readonly CachedPrompts[] =
    isNewest && cachesPrompts ? ["filled", "literal"] : [isNewest ? "filled" : "literal"];
  return behavioursWith(profile, to === null ? null : from, cached, [null]);
}

function behavioursWith(
  profile: ProfileName,
  version: string | null,
  cached: readonly CachedPrompts[],
  embedders: readonly (boolean | null)[],
): Behaviour[] {
  return cached.flatMap((cachedPrompts) =>
    embedders.map((rounded) => {
      const { from, to } = profiles[profile].versions!;
      const says = [
        `as ${from} ${to === null ? "and later versions draw" : `to ${to} draw`}`,
        ...(cached.length > 1
          ? [`cached prompts ${cachedPrompts === "filled" ? "with" : "without"} the trigger word`]
          : []),
        ...(embedders.length > 1
          ? [rounded === true ? "embedders rounded" : "embedders not rounded"]
          : []),
      ].join(", ");
      return { profile, cachedPrompts, version, embedders: rounded, says };
    }),
  );
}

/** torchao kept them some days later: most of the version rounded them. */
function embeddersInCourse({ model }: JobConfig): readonly boolean[] {
  return model.assistantLoraPath === null ? [false, true] : [true, false];
}

function isSame(a: string, b: string): boolean {
  return isOlder(a, b) === false && isOlder(b, a) === false;
}
