import { imageFormats } from "../job/job.ts";
import { effective, seed, state } from "./answers.ts";
import { reportFields, sampleFields } from "./report.ts";
import type { Holds } from "./shapes.ts";
import {
  anything,
  arrayOf,
  documented,
  link,
  mapOf,
  number,
  object,
  orNull,
  string,
  time,
  wholeNumber,
  word,
} from "./shapes.ts";

// What the API answers of what came of a request.

/** report.json, and where its files are. */
const answeredReport = object({
  ...reportFields,
  samples: arrayOf(
    object({
      ...sampleFields,
      preview_url: documented(orNull(link), { description: "the preview as the trainer kept it" }),
      picture_url: documented(orNull(link), { description: "the retake; null: nothing was drawn" }),
    }),
  ),
  json_url: documented(link, { description: "report.json" }),
  html_url: documented(orNull(link), {
    description:
      "a page that holds all of it, to be downloaded; null: the request was cut off before it was written",
  }),
});
export type AnsweredReport = Holds<typeof answeredReport>;

const outputs = orNull(
  object(
    {
      images: arrayOf(
        object({
          format: word(...imageFormats),
          width: wholeNumber,
          height: wholeNumber,
          file_path: string,
          seed,
          url: link,
          effective,
        }),
      ),
      // The reference's other models make them.
      videos: arrayOf(object({})),
    },
    { report: documented(answeredReport, { description: "of a request at /v1/previews" }) },
  ),
);

export const result = object({
  request_id: string,
  status: state,
  outputs,
  error: orNull(string),
  created_at: time,
  finished_at: orNull(time),
  metadata: orNull(
    object({
      model: string,
      inference_time: documented(number, { description: "seconds" }),
      timings: documented(mapOf(anything), { description: "seconds, by what they were spent on" }),
    }),
  ),
  partial_outputs: documented(outputs, {
    description: "what was finished before the request failed or was canceled",
  }),
  error_code: orNull(string),
});
export type Result = Holds<typeof result>;
