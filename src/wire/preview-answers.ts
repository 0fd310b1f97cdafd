import { pageOf } from "./answers.ts";
import type { Holds } from "./shapes.ts";
import {
  arrayOf,
  documented,
  flag,
  link,
  object,
  orNull,
  string,
  time,
  wholeNumber,
} from "./shapes.ts";

// What the API answers about trainings' job folders.

const uploadFields = {
  id: string,
  name: string,
  created_at: time,
  model: documented(orNull(string), { description: "null until the configuration has come" }),
  url: link,
};

const jobUpload = object(uploadFields);
export const jobUploadPage = pageOf("uploads", jobUpload);
export type JobUploadPage = Holds<typeof jobUploadPage>;

export const describedJobUpload = object({
  ...uploadFields,
  complete: documented(flag, { description: "a request can name it" }),
  bytes: wholeNumber,
  files: arrayOf(
    object({
      path: string,
      bytes: wholeNumber,
      sha256: documented(orNull(string), { description: "null until it has come" }),
      received: flag,
      url: documented(link, { description: "where its bytes are put" }),
    }),
  ),
});
export type DescribedJobUpload = Holds<typeof describedJobUpload>;

export const jobPage = pageOf(
  "jobs",
  object({
    folder: documented(string, { description: "what a request writes as folder" }),
    previews: wholeNumber,
    loras: wholeNumber,
  }),
);
export type JobPage = Holds<typeof jobPage>;
