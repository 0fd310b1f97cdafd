import { join } from "node:path";
import type { JobImage } from "../job/job.ts";
import { seedOfText } from "../job/seed.ts";
import type { RequestRecord, RequestStatus } from "../queue/record.ts";

/** What answers need to know of the server. */
export interface Place {
  /** Without a slash at its end. */
  readonly baseUrl: string;
  readonly outputFolder: string;
}

/** Six digits and a plain Z, as the reference's documentation has it; its program writes an offset too. */
export function formatTimestamp(time: Date): string {
  return time.toISOString().replace(/\.(\d{3})Z$/, ".$1000Z");
}

export function submitBody({ id, created_at }: RequestRecord, { baseUrl }: Place): object {
  const url = `${baseUrl}/v1/requests/${id}`;
  return {
    request_id: id,
    // The reference's word here; status calls the same state in_queue.
    status: "queued",
    status_url: `${url}/status`,
    result_url: `${url}/result`,
    created_at: formatTimestamp(created_at),
    events_url: `${url}/events`,
    cancel_url: `${url}/cancel`,
  };
}

export function statusBody(record: RequestStatus): object {
  const { progress } = record;
  return {
    request_id: record.id,
    status: record.state,
    created_at: formatTimestamp(record.created_at),
    started_at: timestampOrNull(record.started_at),
    finished_at: timestampOrNull(record.finished_at),
    error: errorOf(record),
    model: record.model,
    progress:
      progress?.type === "progress"
        ? {
            prompt_index: progress.promptIndex,
            prompts: record.prompts,
            step: progress.step,
            total: progress.total,
            seconds_left: progress.secondsLeft,
          }
        : null,
  };
}

export function resultBody(record: RequestRecord, place: Place): object {
  const { result, failure } = record;
  return {
    request_id: record.id,
    status: record.state,
    outputs:
      result === null ? null : { images: imagesOf(record, result.images, place), videos: [] },
    error: errorOf(record),
    created_at: formatTimestamp(record.created_at),
    finished_at: timestampOrNull(record.finished_at),
    metadata:
      result === null
        ? null
        : {
            model: record.job.model,
            inference_time: result.inferenceTime,
            timings: result.timings,
          },
    // What was finished before the request failed or was canceled.
    partial_outputs:
      failure === null ? null : { images: imagesOf(record, failure.images, place), videos: [] },
    error_code: failure?.code ?? null,
  };
}

function imagesOf({ id }: RequestRecord, images: readonly JobImage[], place: Place): object[] {
  return images.map(({ format, width, height, file, seed: text, effective }) => {
    const seed = seedOfText(text);
    return {
      format,
      width,
      height,
      file_path: placeOf(file, place),
      seed,
      url: `${place.baseUrl}/v1/requests/${id}/files/${file}`,
      effective: { ...effective, seed },
    };
  });
}

/** A folder's path, or the URL of an object. */
function placeOf(file: string, { outputFolder }: Place): string {
  return outputFolder.startsWith("s3://")
    ? `${outputFolder.replace(/\/+$/, "")}/${file}`
    : join(outputFolder, file);
}

function errorOf({ state, failure }: Pick<RequestStatus, "state" | "failure">): string | null {
  return state === "failed" ? (failure?.message ?? "") : null;
}

function timestampOrNull(time: Date | null): string | null {
  return time === null ? null : formatTimestamp(time);
}
