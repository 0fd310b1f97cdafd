import type { ProfileName } from "../job/request.ts";
import type { ScheduleKind } from "../sampler/schedule.ts";

/** What the numbers of a request mean. */
export interface Profile {
  /** `pin`: N steps make N-1 useful updates; `head`: N. */
  readonly schedule: ScheduleKind;
  /** Width and height are multiples of this, in pixels. */
  readonly divisor: number;
  /** What happens to a size that is not: floored, as the reference server does, or refused, as diffusers does. */
  readonly otherSizes: "floor" | "refuse";
  /** The w of `pos + w·(pos - neg)` for the guidance scale of a request; 0 means one pass without guidance. */
  readonly guidanceWeight: (guidanceScale: number) => number;
}

export const profiles: Readonly<Record<ProfileName, Profile>> = {
  /** runcomfy-com/ai-toolkit-inference, diffusers at 072d15ee. */
  reference: { schedule: "pin", divisor: 32, otherSizes: "floor", guidanceWeight: (g) => g },
  /** diffusers from 0.39 on. */
  diffusers: { schedule: "head", divisor: 16, otherSizes: "refuse", guidanceWeight: (g) => g },
};
