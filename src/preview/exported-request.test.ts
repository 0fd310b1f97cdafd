import fc from "fast-check";
import { expect, test } from "vitest";
import { profileNames } from "../job/request.ts";
import { profiles } from "../models/profiles.ts";
import { models } from "../models/registry.ts";
import { flowMatchSchedule } from "../sampler/schedule.ts";
import { parseGraph } from "../tools/comfy-graph.ts";
import { readComfyGraph } from "../tools/comfyui.ts";
import type { ExportedRequest } from "../tools/exported.ts";
import { sigmasIn } from "../tools/schedule-in.ts";
import { toComfyui } from "../tools/to-comfyui.ts";
import { toCurl } from "../tools/to-curl.ts";
import { toDiffusers } from "../tools/to-diffusers.ts";
import { toTrainer } from "../tools/to-trainer.ts";
import { parseToolJson } from "../tools/tool-json.ts";
import { stateFile } from "./state-file.ts";

/** What a person may write, and what other languages take for their own. */
const text = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 40 }),
  fc
    .array(
      fc.constantFrom(
        "a cat",
        " ",
        "\n",
        "(",
        "\\(",
        "\\\\)",
        '"',
        "'",
        "$HOME",
        "`",
        "#",
        ": ",
        "- ",
        "%",
        "\0",
        "\nEND_OF_REQUEST\n",
        "\u2028",
        "<<",
      ),
      { maxLength: 12 },
    )
    .map((parts) => parts.join("")),
);

/** Any request that all four can say. */
const exported = fc
  .record({
    model: fc.constantFrom(...models),
    profile: fc.constantFrom(...profileNames).map((name) => profiles[name]),
    // The trainer cuts flags off and blanks away: a warning says so.
    prompt: text.map((prompt) => prompt.replaceAll("--", "-").trim()),
    negativePrompt: text,
    steps: fc.integer({ min: 1, max: 60 }),
    // In steps of a quarter, at which floats are exact; guided or not in every era.
    guidanceScale: fc.integer({ min: 8, max: 40 }).map((quarters) => quarters / 4),
    seed: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    multiplier: fc.integer({ min: -8, max: 8 }).map((quarters) => quarters / 4),
  })
  .map(({ multiplier, ...rest }): ExportedRequest => {
    const { steps, profile, guidanceScale } = rest;
    const { sigmas } = flowMatchSchedule({ steps, shift: 3, kind: profile.schedule });
    const lora = { path: "loras/mine.safetensors", multiplier };
    return {
      ...rest,
      width: 64,
      height: 96,
      guidanceWeight: profile.guidanceWeight(guidanceScale),
      sigmas: [...new Set(sigmas)],
      shift: 3,
      loras: [{ ...lora, format: "ai-toolkit", network: "LoRA", era: null }],
      rounding: null,
    };
  });

test("ComfyUI's graph says the request, with its own way to write parentheses", () => {
  fc.assert(
    fc.property(exported, (request) => {
      const graph = parseGraph(parseToolJson(toComfyui(request).text, "the graph"));
      const read = readComfyGraph(graph, request);
      expect(read).toMatchObject({
        prompt: request.prompt,
        negative: { kind: "text", text: request.negativePrompt },
        standardCfg: request.guidanceWeight + 1,
        seed: request.seed,
        loras: [{ name: "mine.safetensors", strength: request.loras[0]!.multiplier }],
        sampler: "euler",
        width: 64,
        height: 96,
        unread: [],
      });
      const levels = sigmasIn(read) as number[];
      expect(levels.length).toBe(request.sigmas.length);
      for (const [i, level] of levels.entries()) expect(level).toBeCloseTo(request.sigmas[i]!, 5);
    }),
  );
});

test("the trainer's sample says the request in the numbers of its era", async () => {
  await fc.assert(
    fc.asyncProperty(exported, async (request) => {
      const section = toTrainer(request).text.replaceAll(/^(?=.)/gm, "      ");
      const job =
        "config:\n  name: mine\n  process:\n    - type: diffusion_trainer\n      train: { dtype: float32 }\n" +
        `      model: { name_or_path: ${request.model.transformerRepository}, arch: zimage }\n${section}`;
      const stated = await stateFile(new TextEncoder().encode(job), "config.yaml");
      const { versions } = request.profile;
      const era = versions === null ? profiles["preview-0.10.25"] : request.profile;
      const { steps = 0, guidanceScale = 0, ...rest } = stated.request;
      expect(rest).toMatchObject({
        prompt: request.prompt,
        negativePrompt: request.negativePrompt,
        width: 64,
        height: 96,
        seed: request.seed,
      });
      expect(era.guidanceWeight(guidanceScale)).toBe(request.guidanceWeight);
      const { sigmas } = flowMatchSchedule({ steps, shift: 3, kind: era.schedule });
      expect(new Set(sigmas).size).toBe(request.sigmas.length);
      const multipliers = stated.loras.map(({ multiplier }) => multiplier);
      expect(multipliers).toEqual([request.loras[0]!.multiplier].filter((value) => value !== 0));
    }),
  );
});

test("the curl script's body and the Python script's texts are the request's", () => {
  fc.assert(
    fc.property(exported, (request) => {
      const { text: script } = toCurl(request);
      const body = script.split("\n").at(-3) ?? "";
      expect(parseToolJson(body, "the body")).toMatchObject({
        prompts: [{ prompt: request.prompt, neg: request.negativePrompt }],
      });
      const { text: python } = toDiffusers(request);
      for (const [name, value] of [
        ["prompt", request.prompt],
        ["negative_prompt", request.negativePrompt],
      ] as const) {
        const literal = new RegExp(`^    ${name}=("[^\\n]*"),$`, "m").exec(python)?.[1];
        expect(JSON.parse(literal ?? "null")).toBe(value);
      }
      expect(python).toContain(`manual_seed(${request.seed})`);
    }),
  );
});

test("what a target can't say is refused or warned of", () => {
  const [request] = fc.sample(exported, { numRuns: 1, seed: 1 }) as [ExportedRequest];
  expect(() => toCurl({ ...request, loras: [] })).toThrow(/it needs a LoRA/);
  expect(() => toCurl({ ...request, guidanceScale: 25 })).toThrow(/guidance is from 0 to 20/);
  const old = { ...request, profile: profiles["preview-0.7.6"], guidanceWeight: 0.5 };
  expect(() => toTrainer(old)).toThrow(/can't guide with a weight of 0\.5/);
  const flagged = toTrainer({ ...request, prompt: " a --w 5 [trigger]" }).warnings;
  expect(flagged).toEqual(
    expect.arrayContaining([
      expect.stringContaining('"--"'),
      expect.stringContaining("blanks"),
      expect.stringContaining("[trigger]"),
    ]),
  );
  const two = toCurl({ ...request, loras: [request.loras[0]!, request.loras[0]!] }).warnings;
  expect(two).toContainEqual(expect.stringContaining("RETAKE_MAX_LORAS=2"));
  const lokr = { ...request.loras[0]!, network: "LoKr" };
  expect(toDiffusers({ ...request, loras: [lokr] }).warnings).toEqual([
    expect.stringContaining("diffusers reads LoRA only"),
  ]);
});

test.each(["usual", "other"] as const)("rounding as in training, %s, is warned of", (rounding) => {
  const [one] = fc.sample(exported, { numRuns: 1, seed: 2 }) as [ExportedRequest];
  const request = { ...one, rounding, profile: profiles.reference };
  expect(toComfyui(request).warnings.at(-1)).toContain("the rounding of the training");
  expect(toDiffusers(request).warnings.at(-1)).toContain("the rounding of the training");
  expect(toTrainer(request).warnings.at(-1)).toContain("has to quantise");
  const { text: script, warnings } = toCurl(request);
  expect(script).toContain('"as_trained":true');
  expect(warnings.join()).toContain('The reference server drops "as_trained"');
  expect(warnings.join().includes("is rounded otherwise")).toBe(rounding === "other");
});

test("a file's name may hold what ends a link's path, and a link's key stays out of a script's warnings", () => {
  const [one] = fc.sample(exported, { numRuns: 1, seed: 3 }) as [ExportedRequest];
  const withLora = (path: string) => ({ ...one, loras: [{ ...one.loras[0]!, path }] });
  const named = withLora("my loras/style #2?.safetensors");
  expect(toDiffusers(named).text).toContain(
    'load_lora_weights("my loras/", weight_name="style #2?.safetensors"',
  );
  expect(toCurl(named).text).toContain('"path":"style #2?.safetensors"');
  const { text: python, warnings } = toDiffusers(
    withLora("https://example.org/loras/a.safetensors?token=sesame#x"),
  );
  expect(python).toContain('load_lora_weights(".", weight_name="a.safetensors"');
  expect(python + warnings.join()).not.toContain("sesame");
});

test("the trainer reads every character of a text, and puts no variable of its machine there", () => {
  const [one] = fc.sample(exported, { numRuns: 1, seed: 4 }) as [ExportedRequest];
  // PyYAML refuses the first three, folds the next three like line ends, and reads "<<" as a merge.
  const odd = ["\x7f", "\ufffe", "\uffff", "\x85", "\u2028", "\u2029", "\ufeff", "<<"];
  for (const prompt of [...odd, ...odd.map((text) => `a ${text} b`), "a $" + "{HOME}"]) {
    const { text: yaml } = toTrainer({ ...one, prompt, negativePrompt: prompt });
    expect(yaml).toMatch(/^[\n -~]*$/);
    expect(yaml).not.toContain("$");
    const written = /prompt: (".*")$/m.exec(yaml)?.[1];
    expect(JSON.parse(written ?? "null")).toBe(prompt);
  }
});
