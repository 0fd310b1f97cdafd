import { profileNames } from "../job/request.ts";
import type { Holds } from "./shapes.ts";
import { documented, object, orNull, string, wholeNumber, word } from "./shapes.ts";

export const profileFields = {
  name: word(...profileNames),
  from: documented(orNull(string), {
    description: "first version of ai-toolkit whose previews mean this; null: none does",
  }),
  to: documented(orNull(string), { description: "the last; null: still" }),
  schedule: documented(word("pin", "head"), { description: "pin: N - 1 updates; head: N" }),
  updates: documented(word("N - 1", "N"), {
    description: "useful updates that N steps make; at least one",
  }),
  divisor: documented(wholeNumber, { description: "sizes are multiples of this" }),
  other_sizes: documented(word("floor", "refuse"), { description: "what happens to the others" }),
  guidance: documented(word("g", "max(0, g - 1)"), {
    description: "w of pos + w·(pos - neg) for guidance_scale g",
  }),
  guidance_above: documented(wholeNumber, {
    description: "guidance runs where that is above this",
  }),
};

/** What the numbers of a request mean in a profile. */
export const profileFacts = object(profileFields);
export type ProfileFacts = Holds<typeof profileFacts>;
