import { CanceledError, DeviceLostError, InputError, messageOf } from "../errors.ts";
import { withoutPaths } from "../files/without-paths.ts";
import type { JobImage } from "../job/job.ts";
import { JobError } from "../job/job.ts";
import { DeviceError } from "../onnx/device.ts";
import type { ResultStore } from "../storage/results.ts";
import { deviceLost } from "./messages.ts";

/** A result that can't be kept: not the client's fault. */
class OutputError extends Error {
  override readonly name = "OutputError";
}

/** Keeps a file of a result, whole or not at all. @throws OutputError */
export async function writeResult(
  results: ResultStore,
  file: string,
  bytes: Uint8Array,
): Promise<void> {
  try {
    await results.write(file, bytes);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : messageOf(error);
    throw new OutputError(
      code === "ENOSPC"
        ? "The disk that holds results is full."
        : `The picture could not be written to the server's results (${code}).`,
      { cause: error },
    );
  }
}

interface Reached {
  readonly model: string;
  /** What was being made, for the message: "" or a clause with a colon. */
  readonly where: string;
  /** Null: nothing yet, only the model was opened. */
  readonly promptIndex: number | null;
  readonly images: readonly JobImage[];
}

interface Telling {
  /** Paths of this machine that the client knows by another name. */
  readonly pathNames: ReadonlyMap<string, string>;
  readonly log: (error: unknown, message: string) => void;
}

/** Why a run ended without its result, as its client may read it. */
export function failureOf(
  error: unknown,
  { model, where, promptIndex, images }: Reached,
  { pathNames, log }: Telling,
): JobError {
  const kept = { promptIndex, images: [...images] };
  if (error instanceof CanceledError) {
    return new JobError({ code: "CANCELED", message: "Canceled.", ...kept }, false, {
      cause: error,
    });
  }
  const code = codeOf(error, promptIndex);
  const isLost = code === deviceLost;
  const cause = code === "MODEL_NOT_AVAILABLE" ? `The server can't run ${model}: ` : where;
  const message =
    code === "DEVICE_NOT_AVAILABLE"
      ? "The device that the server computes on can't be used. Its operator finds the reason in the log."
      : isLost
        ? `${where}The device that the server computes on failed in the middle of the run: its driver was reset, or its memory is too small for this picture. Its operator finds the reason in the log.`
        : `${cause}${withoutPaths(messageOf(error), pathNames)}`;
  // The client is told what went wrong; where in the code, is for the operator.
  if (code === "INFERENCE_ERROR" || code === "DEVICE_NOT_AVAILABLE" || isLost)
    log(error, "a run failed");
  return new JobError({ code, message, ...kept }, isLost, { cause: error });
}

function codeOf(error: unknown, promptIndex: number | null): string {
  if (error instanceof OutputError) return "OUTPUT_NOT_WRITTEN";
  if (error instanceof DeviceLostError) return deviceLost;
  // It was tried when the model was opened: what fails later, is short of memory or was reset.
  if (error instanceof DeviceError)
    return promptIndex === null ? "DEVICE_NOT_AVAILABLE" : deviceLost;
  if (!(error instanceof InputError)) return "INFERENCE_ERROR";
  // Before the first prompt only the model was opened: the client has named one that there is.
  return promptIndex === null ? "MODEL_NOT_AVAILABLE" : "INVALID_INPUT";
}
