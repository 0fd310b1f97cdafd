import { expect, test } from "vitest";
import { InputError } from "../errors.ts";
import { readAdapterMetadata } from "./peft-config.ts";

const toQ = "layers.0.attention.to_q";
const toK = "layers.1.attention.to_k";
const read = (config: unknown) =>
  readAdapterMetadata(
    { lora_adapter_metadata: typeof config === "string" ? config : JSON.stringify(config) },
    "/loras/x.safetensors",
  );

// Each scale is `scaling` of PEFT 0.21.2's layer after diffusers 0.42.1 loaded a file with this header.
const cases: [string, Record<string, unknown>, number, number][] = [
  ["alpha / r", { r: 2, lora_alpha: 8 }, 4, 4],
  ["PEFT's own r is 8", { lora_alpha: 16 }, 2, 2],
  [
    "patterns by whole name",
    { r: 2, lora_alpha: 8, rank_pattern: { [toK]: 4 }, alpha_pattern: { [toK]: 2 } },
    4,
    0.5,
  ],
  ["a pattern by the last part", { r: 2, lora_alpha: 8, alpha_pattern: { to_k: 2 } }, 4, 1],
  [
    "a pattern with ^ is the whole name",
    { r: 2, lora_alpha: 8, alpha_pattern: { [`^${toQ}`]: 2, "^attention.to_k": 6 } },
    1,
    4,
  ],
  ["half of a name is none", { r: 2, lora_alpha: 8, alpha_pattern: { o_q: 2, k: 6 } }, 4, 4],
  [
    "the first pattern that fits",
    { r: 2, lora_alpha: 8, alpha_pattern: { to_q: 2, "attention.to_q": 6 } },
    1,
    4,
  ],
  [
    "rslora: alpha / sqrt(r)",
    { r: 2, lora_alpha: 8, use_rslora: true, rank_pattern: { to_k: 4 } },
    5.65685424949238,
    4,
  ],
  ["null is off", { r: 2, lora_alpha: 8, use_rslora: null, use_dora: null }, 4, 4],
];
test.each(cases)("%s", (_, config, scaleOfQ, scaleOfK) => {
  const settingsOf = read(
    Object.fromEntries(Object.entries(config).map(([key, value]) => [`transformer.${key}`, value])),
  );
  expect(settingsOf?.(toQ).scale).toBe(scaleOfQ);
  expect(settingsOf?.(toK).scale).toBe(scaleOfK);
});

test("a header without it says nothing", () => {
  expect(readAdapterMetadata({ format: "pt" }, "x")).toBeUndefined();
  expect(read("")).toBeUndefined();
});

// diffusers fails on these, or computes what Retake doesn't.
test.each([
  ["not JSON", "{", /JSON/],
  ["a key twice", '{"transformer.r":1,"transformer.r":2}', /"transformer.r" twice/],
  ["a list", [], /not an object/],
  ["nothing for the transformer", { r: 2 }, /starts with "transformer\."/],
  ["rank 0", { "transformer.r": 0 }, /at r/],
  ["a text for a number", { "transformer.lora_alpha": "8" }, /at lora_alpha/],
  ["patterns of null", { "transformer.alpha_pattern": null }, /at alpha_pattern/],
  ["a regular expression", { "transformer.alpha_pattern": { "(a+)+": 1 } }, /"\(a\+\)\+" is not/],
  ["DoRA by a text", { "transformer.use_dora": "yes" }, /at use_dora/],
  ["another network", { "transformer.peft_type": "BOFT" }, /at peft_type/],
])("%s is refused", (_, config, reason) => {
  expect(() => read(config)).toThrow(InputError);
  expect(() => read(config)).toThrow(reason);
  expect(() => read(config)).toThrow(/^\/loras\/x\.safetensors .*Save the LoRA without it/);
});
