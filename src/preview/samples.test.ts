import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { goldenFolder } from "../../test/golden.ts";
import { writeJson } from "../wire/python-json.ts";
import type { ConfigValue } from "./config-text.ts";
import { parseConfigText } from "./config-text.ts";
import { readJobConfig } from "./job-config.ts";
import { parsePromptFlags } from "./prompt-flags.ts";
import type { Drawn } from "./samples.ts";
import { trainerSamples } from "./samples.ts";

interface Round {
  readonly process: { readonly [key: string]: ConfigValue };
  readonly set: "sample" | "first_sample";
  /** null: the trainer stops with an error. */
  readonly before: readonly object[] | null;
  readonly after: readonly object[] | null | "same";
}

// What ai-toolkit's own functions made of them, at seven commits: reference/trainer_samples.py.
const file = join(goldenFolder, "trainer-samples.json");
const rounds = parseConfigText(readFileSync(file, "utf8"), file) as unknown as readonly Round[];

function drawnBy({ process, set }: Round, cachedPrompts: "literal" | "filled"): readonly Drawn[] {
  const value = {
    config: { name: "job", process: [{ type: "sd_trainer", model: {}, ...process }] },
  };
  const config = readJobConfig(value, "config.yaml");
  const section = set === "sample" ? config.sample : config.firstSample!;
  return trainerSamples(config, section, cachedPrompts);
}

/** JSON has neither infinities nor seeds beyond 2^53. */
function asGolden(drawn: Drawn): object {
  if ("fault" in drawn) return drawn;
  const number = (value: number) =>
    Number.isFinite(value) ? value : value > 0 ? "inf" : value < 0 ? "-inf" : "nan";
  return {
    ...drawn,
    seed: String(drawn.seed),
    guidanceScale: number(drawn.guidanceScale),
    multiplier: number(drawn.multiplier),
  };
}

test.each(["literal", "filled"] as const)(
  "every odd section is read as the trainer reads it, cached prompts %s",
  (cachedPrompts) => {
    for (const round of rounds) {
      const { before, after } = round;
      const theirs = cachedPrompts === "literal" || after === "same" ? before : after;
      const drawn = drawnBy(round, cachedPrompts);
      const what = writeJson(round.process);
      // One picture that can't be drawn stops the trainer in its round, and one prompt that can't be
      // cached before the first.
      if (theirs === null) {
        const cached = drawnBy({ ...round, set: "sample" }, cachedPrompts);
        expect(
          [...drawn, ...cached].some((one) => "fault" in one),
          what,
        ).toBe(true);
      } else expect(drawn.map(asGolden), what).toEqual(theirs);
    }
  },
);

test("a prompt is drawn up to its first --, whatever follows", () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (text, rest) => {
      const prompt = text.replaceAll("-", "");
      const drawn = parsePromptFlags(`${prompt}--x${rest.replaceAll("--", "")}`);
      expect(drawn).toEqual({ prompt: parsePromptFlags(prompt).prompt });
    }),
  );
});
