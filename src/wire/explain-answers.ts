import { profileNames } from "../job/request.ts";
import { asTrained } from "./answers.ts";
import type { Holds } from "./shapes.ts";
import {
  arrayOf,
  documented,
  flag,
  number,
  object,
  orNull,
  string,
  wholeNumber,
  word,
} from "./shapes.ts";

// What an explanation tells, field by field: `retake explain --json` and POST /v1/explain.

const text = object({
  text: documented(string, { description: "what is encoded" }),
  tokens: documented(orNull(wholeNumber), {
    description: "with the chat template around it; null: no tokenizer is here",
  }),
  cut_text: documented(orNull(string), { description: "what lies behind 512 tokens" }),
});

const meaning = object({
  where: documented(string, { description: "a tool, or a profile of this API" }),
  name: documented(string, { description: "what the number is called there" }),
  value: documented(orNull(number), { description: "null: no number there means the same" }),
});

const covered = object({
  group: documented(string, { description: "e.g. layers.*.attention.to_q" }),
  modules: wholeNumber,
  of: documented(wholeNumber, { description: "how many the model has" }),
});

const lora = object({
  name: documented(string, { description: "as the request or the picture names it" }),
  network_multiplier: number,
  format: orNull(string),
  network: orNull(string),
  trainer_version: orNull(string),
  modules: documented(orNull(wholeNumber), { description: "those that act" }),
  of: documented(orNull(wholeNumber), {
    description: "modules of the model that a LoRA can change",
  }),
  groups: arrayOf(covered),
  problem: documented(orNull(string), {
    description: "why it was not looked at, or does not fit",
  }),
});

const component = object({
  name: string,
  state: word("there", "missing", "incomplete", "damaged"),
  stored: documented(arrayOf(string), { description: "types of its weights, as stored" }),
  bytes: wholeNumber,
});

const words = { name: string, value: string };

/** What a tool wrote into its picture, as it wrote it. */
const tool = object({
  name: string,
  settings: arrayOf(object({ setting: string, ...words })),
  others: documented(arrayOf(object(words)), {
    description: "what is understood as none of the settings",
  }),
});

const explanation = object({
  source: documented(string, { description: "what was read, in words" }),
  tool: documented(orNull(tool), {
    description: "the tool's own words, where a picture of another tool was read",
  }),
  model: string,
  profile: object({
    name: word(...profileNames),
    asked: string,
    reason: documented(orNull(string), { description: "why it is this one; null: it was named" }),
  }),
  size: object({
    asked: documented(arrayOf(wholeNumber), { description: "width and height" }),
    width: wholeNumber,
    height: wholeNumber,
    divisor: wholeNumber,
  }),
  steps: object({
    asked: wholeNumber,
    updates: documented(wholeNumber, { description: "those that change something" }),
    schedule: word("pin", "head"),
    shift: number,
    sigmas: arrayOf(number),
  }),
  guidance: object({
    scale: documented(number, { description: "as asked for" }),
    weight: documented(number, { description: "w of pos + w·(pos - neg); 0: one pass" }),
    standard_cfg: documented(number, { description: "s of neg + s·(pos - neg); 1: none" }),
    meanings: arrayOf(meaning),
  }),
  prompt: text,
  negative_prompt: text,
  negative_counts: flag,
  seed: documented(string, { description: "all its digits" }),
  noise: string,
  loras: arrayOf(lora),
  weights: documented(arrayOf(component), { description: "of the model here; empty: none" }),
  as_trained: documented(asTrained, {
    description: "how weights are rounded as in training; null: they are not",
  }),
  warnings: arrayOf(string),
});
export type Explanation = Holds<typeof explanation>;

export const explanations = object({
  explanations: documented(arrayOf(explanation), { description: "one for each prompt" }),
});
export type Explanations = Holds<typeof explanations>;
