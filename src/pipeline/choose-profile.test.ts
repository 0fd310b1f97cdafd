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

test.each([
  ["0.9.2\u001b[31m\nerror: all is lost", /^the LoRA was trained with ai-toolkit 0\.9\.2$/],
  ["0.1.2\u001b[31m\nerror: all is lost", /ai-toolkit 0\.1\.2 is older/],
  [`\u001b[31m\nerror: ${"x".repeat(1000)}`, /^the LoRA: "\\u\{1b\}\[31m error: x{20,40}" is not/],
])("a reason takes no control characters and no lines of a header's: %j", (version, said) => {
  const { reason } = chooseProfile("preview", [trained(version)]);
  expect(reason).toMatch(said);
  expect(reason).not.toMatch(/\p{Cc}|lost/u);
});
