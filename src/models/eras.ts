import { oneLine } from "../errors.ts";
import type { ProfileName } from "../job/request.ts";
import type { Profile } from "./profiles.ts";
import { profiles } from "./profiles.ts";

/** What a version of ai-toolkit tells of its training previews. */
export interface Era {
  /** Its numbers alone: what a header holds beside them is anybody's text. */
  readonly version: string;
  /** What they most likely meant. */
  readonly profile: Profile;
  /** All that they may have meant, the likely one first; more than one in a version that changed its mind. */
  readonly candidates: readonly Profile[];
  /** What is uncertain, where there is more than one. */
  readonly doubt: string | null;
}

/** From the oldest to the newest. */
const eras: readonly Profile[] = Object.values(profiles)
  .filter(({ versions }) => versions !== null)
  .toSorted((a, b) => compare(numbersOf(a.versions!.from)!, numbersOf(b.versions!.from)!));

export const newestEra: Profile = eras.at(-1)!;

/** Versions in whose course a preview's meaning changed. */
const uncertain: Readonly<Record<string, { other: ProfileName; doubt: string }>> = {
  "0.9.14": {
    other: "preview-0.7.25",
    doubt: "in this version's first two days sizes were floored to 32",
  },
  "0.10.24": {
    other: "preview-0.10.25",
    doubt: "at the end of this version N steps came to make N updates",
  },
};

/**
 * The era of a version of ai-toolkit.
 *
 * @returns why there is none, where there is none
 */
export function eraOfVersion(version: string): Era | { readonly none: string } {
  const numbers = numbersOf(version);
  if (numbers === undefined) {
    // Out of a header it is anybody's text.
    return { none: `"${oneLine(version.slice(0, 40))}" is not a version of ai-toolkit` };
  }
  const plain = numbers.join(".");
  const profile = eras.findLast(
    ({ versions }) => compare(numbers, numbersOf(versions!.from)!) >= 0,
  );
  if (profile === undefined) {
    return { none: `ai-toolkit ${plain} is older than its Z-Image training` };
  }
  const changed = uncertain[plain];
  return changed === undefined
    ? { version: plain, profile, candidates: [profile], doubt: null }
    : {
        version: plain,
        profile,
        candidates: [profile, profiles[changed.other]],
        doubt: changed.doubt,
      };
}

/** The era of a LoRA by what its header says of its trainer. */
export function eraOfHeader(header: {
  readonly trainer: string | null;
  readonly trainerVersion: string | null;
}): Era | { readonly none: string } {
  const { trainer, trainerVersion } = header;
  if (trainerVersion === null || !/ai-toolkit/i.test(trainer ?? "")) {
    return { none: "its header does not say which version of ai-toolkit trained it" };
  }
  return eraOfVersion(trainerVersion);
}

/** Whether a version of ai-toolkit is older than another; undefined if one of them is none. */
export function isOlder(version: string, than: string): boolean | undefined {
  const [a, b] = [numbersOf(version), numbersOf(than)];
  return a === undefined || b === undefined ? undefined : compare(a, b) < 0;
}

function numbersOf(version: string): number[] | undefined {
  return /^v?(\d+)\.(\d+)\.(\d+)/.exec(version)?.slice(1).map(Number);
}

/** A version orders by its numbers, not as text. */
function compare(a: readonly number[], b: readonly number[]): number {
  const different = a.findIndex((number, i) => number !== b[i]);
  return different === -1 ? 0 : a[different]! - b[different]!;
}
