import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { goldenFolder } from "../../test/golden.ts";
import { jobStates, picturesOf } from "../job/job.ts";
import { status, submitted } from "./answers.ts";
import type { KnownRequest, KnownStatus } from "./from-job.ts";
import { resultBody, statusBody, submitBody } from "./from-job.ts";
import type { JsonValue } from "./python-json.ts";
import { parsePythonJson, writeJson } from "./python-json.ts";
import { parseInferenceRequest } from "./request.ts";
import { result } from "./result-answers.ts";
import { jobFromRequest } from "./to-job.ts";

const links = { baseUrl: "http://localhost:8000", fileOf: (name: string) => `/outputs/${name}` };
const limits = { loras: 1, prompts: 64, promptCharacters: 20_000, pixelSteps: 4096 * 4096 * 150 };

const integer = z.union([z.number(), z.bigint()]);
const time = z.string().nullable();
const recordedStatus = z.object({
  request_id: z.string(),
  status: z.enum(jobStates),
  created_at: z.string(),
  started_at: time,
  finished_at: time,
  error: z.string().nullable(),
});
const recordedResult = recordedStatus.omit({ started_at: true }).extend({
  outputs: z
    .object({
      images: z.array(
        z.object({
          format: z.literal("jpeg"),
          width: integer,
          height: integer,
          file_path: z.string(),
          seed: integer,
        }),
      ),
      videos: z.array(z.never()),
    })
    .nullable(),
  metadata: z
    .object({
      model: z.string(),
      inference_time: z.number(),
      timings: z.record(z.string(), z.json()),
    })
    .nullable(),
});
const recordedState = z.object({
  state: z.enum(jobStates),
  request: z.custom<JsonValue>(),
  status: recordedStatus,
  result: recordedResult,
});
type RecordedState = z.output<typeof recordedState>;

// Read with our own reader: seeds above 2^53 are among them.
const file = readFileSync(join(goldenFolder, "wire", "states.json"), "utf8");
const { states } = z.object({ states: z.array(recordedState) }).parse(parsePythonJson(file));

const anyRequest = { model: "zimage", loras: [{ path: "a" }], prompts: [{ prompt: "a" }] };

function recordOf({ state, request, status, result }: RecordedState): KnownRequest {
  const parsed = parseInferenceRequest(request ?? anyRequest, limits);
  if (parsed.errors !== undefined) throw new Error("the recorded request is none");
  const { outputs, metadata } = result;
  const images = (outputs?.images ?? []).map((image, promptIndex) => ({
    ...image,
    promptIndex,
    width: Number(image.width),
    height: Number(image.height),
    seed: String(image.seed),
    file: basename(image.file_path),
    bytes: 1,
    effective: {},
  }));
  return {
    id: status.request_id,
    state,
    job: jobFromRequest(status.request_id, parsed.request),
    created_at: dateOf(status.created_at)!,
    started_at: dateOf(status.started_at),
    finished_at: dateOf(status.finished_at),
    progress: null,
    result:
      metadata === null
        ? null
        : { images, timings: metadata.timings, inferenceTime: metadata.inference_time },
    failure:
      status.error === null
        ? null
        : { code: "INFERENCE_FAILED", message: status.error, promptIndex: 1, images: [] },
  };
}

/** What the database reads of a record for its status. */
function standingOf(record: KnownRequest): KnownStatus {
  const { kind, model } = record.job;
  return { ...record, kind, model, prompts: picturesOf(record.job) };
}

/** The reference writes an offset and a Z behind it; its documentation has the Z alone. */
function dateOf(recorded: string | null): Date | null {
  return recorded === null ? null : new Date(recorded.replace("+00:00Z", "Z"));
}

/** As recorded, with our times: a Z alone, and milliseconds with zeros behind them. */
function withPlainTimes(body: object): object {
  const time = /"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})\d{3}\+00:00Z"/g;
  return Object(parsePythonJson(writeJson(body).replaceAll(time, '"$1000Z"')));
}

/** What a client reads; seeds keep their digits. */
function asRead(body: object): object {
  return Object(parsePythonJson(writeJson(body)));
}

test("every state is among the recorded", () => {
  expect(new Set(states.map(({ state }) => state))).toEqual(new Set(jobStates));
});

describe("bodies hold what the reference's do, and more", () => {
  test.each(states)("$state: $status.error", (recorded) => {
    const record = recordOf(recorded);
    expect(asRead(statusBody(standingOf(record)))).toMatchObject(withPlainTimes(recorded.status));
    expect(asRead(resultBody(record, links))).toMatchObject(withPlainTimes(recorded.result));
  });
});

describe("bodies are what the API's documentation says", () => {
  test.each(states)("$state: $status.error", (recorded) => {
    const record = recordOf(recorded);
    const bodies = [
      [submitted, submitBody(record, links)],
      [status, statusBody(standingOf(record))],
      [result, resultBody(record, links)],
    ] as const;
    for (const [shape, body] of bodies) {
      // Seeds above 2^53 are integers to JSON, if not to zod: digits are checked above.
      const { error } = z.fromJSONSchema(shape.schema).safeParse(JSON.parse(writeJson(body)));
      const wrong = error?.issues.filter(({ path }) => path.at(-1) !== "seed");
      expect(wrong ?? []).toEqual([]);
    }
  });
});
