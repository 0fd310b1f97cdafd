import { pageOf } from "./answers.ts";
import { profileFields } from "./profiles.ts";
import type { Holds } from "./shapes.ts";
import {
  arrayOf,
  documented,
  mapOf,
  number,
  object,
  orNull,
  string,
  time,
  wholeNumber,
} from "./shapes.ts";

// What the API answers about LoRA files.

const ranks = documented(arrayOf(orNull(wholeNumber)), {
  description: "null: a LoKr's whole factors; empty: changes stored whole (.diff, .diff_b)",
});

const group = object({
  group: documented(string, { description: "e.g. layers.*.attention.to_q" }),
  modules: wholeNumber,
  rank: ranks,
  alpha: documented(arrayOf(number), {
    description: "as stored; empty: none is, and alpha = rank",
  }),
  scale: documented(arrayOf(number), {
    description: "what the product is multiplied by; empty: changes stored whole",
  }),
  dtype: arrayOf(string),
});

/** What a training preview meant, by the version of ai-toolkit that drew it. */
const previewEra = object({
  ...profileFields,
  candidates: documented(arrayOf(profileFields.name), {
    description: "all profiles that it may be; more than one where `doubt` says why",
  }),
  doubt: orNull(string),
});

/** What a LoRA file is. */
const loraFacts = object({
  bytes: wholeNumber,
  sha256: string,
  format: string,
  network: string,
  name: orNull(string),
  version: orNull(string),
  base_model: orNull(string),
  trainer: orNull(string),
  trainer_version: orNull(string),
  step: orNull(wholeNumber),
  epoch: orNull(wholeNumber),
  trigger_words: arrayOf(string),
  dataset_tags: mapOf(wholeNumber),
  modules: wholeNumber,
  parameters: wholeNumber,
  rank: ranks,
  groups: documented(arrayOf(group), { description: "modules of the same kind in all blocks" }),
  strength: documented(mapOf(orNull(number)), {
    description: "Frobenius norm of each module's change at multiplier 1",
  }),
  preview_era: orNull(previewEra),
  preview_era_unknown: documented(orNull(string), { description: "why there is no era" }),
  unusable: documented(orNull(string), {
    description: "why a request with it fails; null: it can be used",
  }),
  problems: documented(arrayOf(string), {
    description: "what may be wrong with it all the same",
  }),
  notes: arrayOf(string),
});
export type LoraFacts = Holds<typeof loraFacts>;

export const uploadIdPattern = /^[0-9a-f]{64}$/;
export const uploadId = documented(string, {
  pattern: uploadIdPattern.source,
  description: "SHA-256 of the file",
});

const uploadFields = {
  id: uploadId,
  path: documented(string, { description: "what a request writes as loras[].path" }),
  name: orNull(string),
  bytes: wholeNumber,
  created_at: time,
};

const upload = object(uploadFields);
export type Upload = Holds<typeof upload>;

export const describedUpload = object({ ...uploadFields, description: loraFacts });
export type DescribedUpload = Holds<typeof describedUpload>;

export const uploadPage = pageOf("loras", upload);
export type UploadPage = Holds<typeof uploadPage>;

export const inspected = object({ description: loraFacts });
export type Inspected = Holds<typeof inspected>;
