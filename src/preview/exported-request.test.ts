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
      asTrained: false,
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
        const literal = new RegExp(`^    ${name}=(".*"),$`, "m").exec(python)?.[1];
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
  const lokr = { ...request.loras[0]!, network: "LoKr" };
  expect(toDiffusers({ ...request, loras: [lokr] }).warnings).toEqual([
    expect.stringContaining("diffusers reads LoRA only"),
  ]);
  expect(toComfyui({ ...request, asTrained: true }).warnings.at(-1)).toContain("rounding");
});
