import { profileNames } from "../job/request.ts";
import { asTrained, plannedSettings } from "./answers.ts";
import type { Holds } from "./shapes.ts";
import {
  anything,
  arrayOf,
  documented,
  flag,
  mapOf,
  number,
  object,
  orNull,
  string,
  wholeNumber,
  word,
} from "./shapes.ts";

// report.json: what came of taking a job's previews again. The server answers it with links.

/** In the order in which a person wants to see them. */
export const verdicts = [
  "different",
  "not reproducible",
  "close",
  "equal",
  /** The request of a LoRA's sample was drawn, and no preview is there to compare it with. */
  "no preview",
] as const;
export type Verdict = (typeof verdicts)[number];

const cause = object(
  {
    factor: documented(string, { description: "what was changed, one thing at a time" }),
    value: documented(anything, { description: "what it was changed to" }),
    psnr: documented(number, { description: "of the preview and the picture with the change" }),
  },
  {
    gain: documented(number, { description: "dB nearer than without the change" }),
    sentence: documented(string, { description: "the same in words" }),
    flag: documented(orNull(string), { description: "what the command line takes to change it" }),
  },
);

export const sampleFields = {
  preview: documented(orNull(string), { description: "in the job's folder: samples/…" }),
  picture: documented(orNull(string), {
    description: "the retake before it is encoded as the trainer does, beside the report",
  }),
  step: wholeNumber,
  index: documented(wholeNumber, { description: "of the sample, from 0" }),
  set: documented(word("first_sample", "sample"), {
    description: "the section of the configuration that it was drawn by",
  }),
  era: documented(orNull(word(...profileNames)), {
    description: "the profile that it was drawn with; null: none is known",
  }),
  as_trained: documented(asTrained, {
    description: "how the weights were rounded as in training; null: they were not",
  }),
  verdict: word(...verdicts),
  psnr: documented(orNull(number), {
    description: "dB of the two files' pixels, the retake encoded as the trainer does; 100: equal",
  }),
  ssim: documented(orNull(number), { description: "of the same; 1: equal" }),
  max_difference: documented(orNull(wholeNumber), { description: "of the same, of 255" }),
  reason: documented(orNull(string), {
    description: "why it is not reproducible, or what the figures don't say",
  }),
  settings: plannedSettings,
  why: documented(mapOf(string), {
    description: "why these settings, by what they are about: era, as_trained, lora, …",
  }),
  causes: documented(arrayOf(cause), {
    description: "of a difference, found by trying, the likeliest first",
  }),
};
const sample = object(sampleFields);
export type ReportSample = Holds<typeof sample>;
export type ReportCause = Holds<typeof cause>;

/** What explains most of a job's pictures that differ. */
const commonCause = object({
  factor: documented(string, { description: "what was changed, one thing at a time" }),
  value: documented(anything, { description: "what it was changed to" }),
  sentence: documented(string, { description: "the same in words" }),
  flag: documented(orNull(string), { description: "what the command line takes to change it" }),
  explained: documented(wholeNumber, { description: "pictures that the factor explains" }),
  different: documented(wholeNumber, { description: "pictures that need an explanation" }),
});
export type ReportCommonCause = Holds<typeof commonCause>;

const summary = object(
  {
    previews: documented(wholeNumber, { description: "that the report is about" }),
    equal: wholeNumber,
    close: wholeNumber,
    different: wholeNumber,
    not_reproducible: wholeNumber,
    no_preview: documented(wholeNumber, { description: "drawn, with nothing to compare" }),
    waiting: documented(wholeNumber, { description: "not drawn yet, or never: it was stopped" }),
    sentence: documented(string, { description: "the same in words" }),
  },
  {
    cause: documented(orNull(commonCause), {
      description: "what explains most pictures that differ, found by trying; null: nothing does",
    }),
  },
);
export type ReportSummary = Holds<typeof summary>;

export const reportFields = {
  job: documented(string, { description: "its name" }),
  retake: documented(string, { description: "version of Retake" }),
  trainer_versions: documented(arrayOf(string), {
    description: "of ai-toolkit, as the LoRAs' headers say",
  }),
  finished: documented(flag, { description: "false: pictures are missing still" }),
  notes: documented(arrayOf(string), { description: "about the whole job" }),
  samples: arrayOf(sample),
  summary,
};
export const report = object(reportFields);
export type Report = Holds<typeof report>;
