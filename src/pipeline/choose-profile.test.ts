import { expect, test } from "vitest";
import { chooseProfile } from "./choose-profile.ts";

const trained = (trainerVersion: string | null, trainer: string | null = "ai-toolkit") => ({
  trainer,
  trainerVersion,
});
const newest = "preview-0.10.25";

test.each([
  ["the only LoRA's", [trained("0.9.2")], "preview-0.7.25", /^the LoRA was .* ai-toolkit 0\.9\.2$/],
  ["the first of two", [trained("0.7.8"), trained("0.12.0")], "preview-0.7.6", /^the first LoRA/],
  ["no LoRA's", [], newest, /no LoRA, so the newest/],
  ["no version's", [trained(null)], newest, /does not say.*so the newest/],
  [
    "no version's, though another LoRA has one",
    [trained(null), trained("0.7.8")],
    newest,
    /^the first/,
  ],
  ["another trainer's", [trained("0.7.8", "kohya")], newest, /does not say.*so the newest/],
  ["an older version's", [trained("0.6.9")], newest, /0\.6\.9 is older.*so the newest/],
])("preview: %s era", (_, loras, name, reason) => {
  const chosen = chooseProfile("preview", loras);
  expect(chosen.profile.name).toBe(name);
  expect(chosen.reason).toMatch(reason);
});

test("a profile that is named is taken, whatever the LoRA says", () => {
  const { profile, reason } = chooseProfile("reference", [trained("0.12.0")]);
  expect([profile.name, reason]).toEqual(["reference", null]);
});

test("a reason holds the version's numbers alone, not what a header adds to them", () => {
  const { reason } = chooseProfile("preview", [trained("0.9.2\u001b[31m\nerror: all is lost")]);
  expect(reason).toBe("the LoRA was trained with ai-toolkit 0.9.2");
});
