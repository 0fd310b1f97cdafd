import type {
  Job,
  JobEvent,
  JobFailure,
  JobImage,
  JobKind,
  JobResult,
  JobState,
} from "../job/job.ts";
import { originalFile, reportFile, retakeFile } from "../job/report-files.ts";
import { seedOfText } from "../job/seed.ts";
import type { EffectiveAnswer, EventData, Status, Submitted } from "./answers.ts";
import type { Report } from "./report.ts";
import type { AnsweredReport, Result } from "./result-answers.ts";

// What clients read of a request: the counterpart of to-job.ts.

/** How an accepted request stands. */
export interface KnownStatus {
  readonly id: string;
  readonly state: JobState;
  readonly kind: JobKind;
  readonly model: string;
  /** How many pictures it asks for. */
  readonly prompts: number;
  readonly created_at: Date;
  readonly started_at: Date | null;
  readonly finished_at: Date | null;
  /** The last that the running job told. */
  readonly progress: JobEvent | null;
  readonly failure: Pick<JobFailure, "message"> | null;
}

/** All of an accepted request that its result is made of. */
export interface KnownRequest
  extends Pick<
    KnownStatus,
    "id" | "state" | "created_at" | "started_at" | "finished_at" | "progress"
  > {
  readonly job: Job;
  readonly result: JobResult | null;
  readonly failure: JobFailure | null;
}

/** Where clients find what answers name. */
export interface Links {
  /** Without a slash at its end. */
  readonly baseUrl: string;
  /** A result's path or object, as the reference's `file_path` has it. */
  readonly fileOf: (name: string) => string;
}

/** Six digits and a plain Z, as the reference's documentation has it; its program writes an offset too. */
export function formatTimestamp(time: Date): string {
  return time.toISOString().replace(/\.(\d{3})Z$/, ".$1000Z");
}

export function submitBody(
  { id, created_at }: Pick<KnownRequest, "id" | "created_at">,
  { baseUrl }: Pick<Links, "baseUrl">,
): Submitted {
  const url = `${baseUrl}/v1/requests/${id}`;
  return {
    request_id: id,
    status: "queued",
    status_url: `${url}/status`,
    result_url: `${url}/result`,
    created_at: formatTimestamp(created_at),
    events_url: `${url}/events`,
    cancel_url: `${url}/cancel`,
  };
}

export function statusBody(request: KnownStatus): Status {
  const { progress } = request;
  return {
    request_id: request.id,
    status: request.state,
    created_at: formatTimestamp(request.created_at),
    started_at: timestampOrNull(request.started_at),
    finished_at: timestampOrNull(request.finished_at),
    error: errorOf(request),
    model: request.model,
    kind: request.kind,
    progress:
      progress?.type === "progress"
        ? {
            prompt_index: progress.promptIndex,
            prompts: progress.prompts ?? request.prompts,
            step: progress.step,
            total: progress.total,
            seconds_left: progress.secondsLeft,
          }
        : null,
  };
}

/** @param report what a request at /v1/previews has so far; null: nothing, or it asks for pictures */
export function resultBody(
  request: KnownRequest,
  links: Links,
  report: Report | null = null,
): Result {
  const { id, result, failure } = request;
  const reported = report === null ? {} : { report: reportBody(request, report, links) };
  const outputsOf = (images: readonly JobImage[]) => ({
    images: images.map((image) => imageOf(id, image, links)),
    videos: [],
    ...reported,
  });
  return {
    request_id: id,
    status: request.state,
    outputs: result === null ? null : outputsOf(result.images),
    error: errorOf(request),
    created_at: formatTimestamp(request.created_at),
    finished_at: timestampOrNull(request.finished_at),
    metadata:
      result === null
        ? null
        : {
            model: request.job.model,
            inference_time: result.inferenceTime,
            timings: result.timings,
          },
    partial_outputs:
      failure === null && (report === null || result !== null)
        ? null
        : outputsOf(failure?.images ?? []),
    error_code: failure?.code ?? null,
  };
}

type ImageAnswer = NonNullable<Result["outputs"]>["images"][number];

function imageOf(id: string, image: JobImage, links: Links): ImageAnswer {
  const { format, width, height, file } = image;
  const seed = seedOfText(image.seed);
  // describeResult writes it as this type; the queue keeps it as JSON.
  const effective = image.effective as Omit<EffectiveAnswer, "seed">;
  return {
    format,
    width,
    height,
    file_path: links.fileOf(file),
    seed,
    url: urlOf(id, file, links),
    effective: { ...effective, seed },
  };
}

function reportBody(
  { id, result, failure }: KnownRequest,
  report: Report,
  links: Pick<Links, "baseUrl">,
): AnsweredReport {
  const linkTo = (file: string) => urlOf(id, file, links);
  return {
    ...report,
    samples: report.samples.map((sample) => {
      const { preview, picture } = sample;
      return {
        ...sample,
        preview_url: preview === null ? null : linkTo(originalFile({ id }, preview)),
        picture_url: picture === null ? null : linkTo(retakeFile({ id }, picture)),
      };
    }),
    json_url: linkTo(reportFile({ id }, "json")),
    html_url: result !== null || failure?.page === true ? linkTo(reportFile({ id }, "html")) : null,
  };
}

/** The data of a server-sent event. */
export function eventBody(id: string, event: JobEvent, links: Pick<Links, "baseUrl">): EventData {
  switch (event.type) {
    case "state":
      return { request_id: id, status: event.state };
    case "progress":
      return {
        request_id: id,
        prompt_index: event.promptIndex,
        step: event.step,
        total: event.total,
        seconds_left: event.secondsLeft,
      };
    case "preview":
      return {
        request_id: id,
        prompt_index: event.promptIndex,
        step: event.step,
        url: urlOf(id, event.file, links),
      };
    case "image":
      return {
        request_id: id,
        prompt_index: event.image.promptIndex,
        seed: seedOfText(event.image.seed),
        url: urlOf(id, event.image.file, links),
      };
    case "retake": {
      const { file, ...told } = event.retake;
      return { request_id: id, ...told, url: file === null ? null : urlOf(id, file, links) };
    }
  }
}

function urlOf(id: string, file: string, { baseUrl }: Pick<Links, "baseUrl">): string {
  return `${baseUrl}/v1/requests/${id}/files/${file}`;
}

function errorOf({ state, failure }: Pick<KnownStatus, "state" | "failure">): string | null {
  return state === "failed" ? (failure?.message ?? "") : null;
}

function timestampOrNull(time: Date | null): string | null {
  return time === null ? null : formatTimestamp(time);
}
