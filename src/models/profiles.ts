import type { ProfileName } from "../job/request.ts";
import { profileNames } from "../job/request.ts";
import type { ProfileFacts } from "../wire/profiles.ts";

/** What the numbers of a request mean. */
export interface Profile {
  readonly name: ProfileName;
  /** Of ai-toolkit, whose training previews had this meaning; `to: null`: they still have. */
  readonly versions: { readonly from: string; readonly to: string | null } | null;
  /** `pin`: N steps make N-1 useful updates (1 for N = 1); `head`: N. */
  readonly schedule: "pin" | "head";
  /** Width and height are multiples of this, in pixels. */
  readonly divisor: number;
  /** What happens to a size that is not: floored, or refused. */
  readonly otherSizes: "floor" | "refuse";
  /** What a request's guidance scale g is handed on as. */
  readonly guidance: "g" | "max(0, g - 1)";
  /** Guidance runs where what is handed on is above this; elsewhere one pass is made. */
  readonly guidedAbove: number;
  /** The w of `pos + w·(pos - neg)` for a request's guidance scale; 0: one pass without guidance. */
  readonly guidanceWeight: (guidanceScale: number) => number;
}

type Row = Omit<Profile, "name" | "guidanceWeight">;

/**
 * The table. Eras are read from the trainer's history (4e62c38d, 859635e9, ef57c107, 6233efe1,
 * 3e6bd874) and proven by its own previews: test/eras.test.ts.
 */
const rows: Readonly<Record<ProfileName, Row>> = {
  /** runcomfy-com/ai-toolkit-inference, diffusers at 072d15ee. */
  reference: {
    versions: null,
    schedule: "pin",
    divisor: 32,
    otherSizes: "floor",
    guidance: "g",
    guidedAbove: 0,
  },
  /** diffusers from 0.39 on. */
  diffusers: {
    versions: null,
    schedule: "head",
    divisor: 16,
    otherSizes: "refuse",
    guidance: "g",
    guidedAbove: 0,
  },
  "preview-0.7.6": {
    versions: { from: "0.7.6", to: "0.7.24" },
    schedule: "pin",
    divisor: 32,
    otherSizes: "floor",
    guidance: "g",
    guidedAbove: 1,
  },
  "preview-0.7.25": {
    versions: { from: "0.7.25", to: "0.9.13" },
    schedule: "pin",
    divisor: 32,
    otherSizes: "floor",
    guidance: "g",
    guidedAbove: 0,
  },
  "preview-0.9.14": {
    versions: { from: "0.9.14", to: "0.10.20" },
    schedule: "pin",
    divisor: 16,
    otherSizes: "floor",
    guidance: "g",
    guidedAbove: 0,
  },
  "preview-0.10.21": {
    versions: { from: "0.10.21", to: "0.10.24" },
    schedule: "pin",
    divisor: 16,
    otherSizes: "floor",
    guidance: "max(0, g - 1)",
    guidedAbove: 0,
  },
  "preview-0.10.25": {
    versions: { from: "0.10.25", to: null },
    schedule: "head",
    divisor: 16,
    otherSizes: "floor",
    guidance: "max(0, g - 1)",
    guidedAbove: 0,
  },
};

export const profiles: Readonly<Record<ProfileName, Profile>> = Object.fromEntries(
  profileNames.map((name) => [name, profileOf(name, rows[name])]),
) as Record<ProfileName, Profile>; // every name has its row

function profileOf(name: ProfileName, row: Row): Profile {
  const handed = (g: number) => (row.guidance === "g" ? g : Math.max(0, g - 1));
  return {
    name,
    ...row,
    guidanceWeight: (g) => (handed(g) > row.guidedAbove ? handed(g) : 0),
  };
}

/**
 * The guidance scale to ask a profile for, so that it guides with a weight.
 *
 * @returns null if none gives that weight
 */
export function guidanceScaleFor(profile: Profile, weight: number): number | null {
  const scale = profile.guidance === "g" ? weight : weight + 1;
  // One more and one less again is not always the same number.
  return Math.abs(profile.guidanceWeight(scale) - weight) < 1e-9 ? scale : null;
}

/** A row of the table in the words of the API. */
export function profileFacts(profile: Profile): ProfileFacts {
  return {
    name: profile.name,
    from: profile.versions?.from ?? null,
    to: profile.versions?.to ?? null,
    schedule: profile.schedule,
    updates: profile.schedule === "pin" ? "N - 1" : "N",
    divisor: profile.divisor,
    other_sizes: profile.otherSizes,
    guidance: profile.guidance,
    guidance_above: profile.guidedAbove,
  };
}
