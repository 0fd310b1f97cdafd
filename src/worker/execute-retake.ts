import { CanceledError, InputError } from "../errors.ts";
import { withoutPaths } from "../files/without-paths.ts";
import type { JobResult, RetakeJob } from "../job/job.ts";
import { JobError } from "../job/job.ts";
import { readJobFolder } from "../preview/job-folder.ts";
import type { Plan, PlannedSample } from "../preview/plan.ts";
import { planRetakes } from "../preview/plan.ts";
import type { RetakeProgress } from "../preview/retake.ts";
import { retakeJob } from "../preview/retake.ts";
import type { ReportSample } from "../wire/report.ts";
import type { Execution } from "./execute.ts";
import { failureOf } from "./failure.ts";
import { rendererOf } from "./renderer.ts";
import { openReportStore } from "./report-store.ts";

/**
 * Takes the previews of a training again, with the pipelines that pictures are made with. What is
 * done is kept in the result store as it is done, and an interrupted run's successor goes on with it.
 *
 * @throws JobError; the report on what was done is kept
 */
export async function executeRetake(job: RetakeJob, execution: Execution): Promise<JobResult> {
  const startedAt = performance.now();
  const [folder, work] = execution.paths as [string, string]; // findFiles makes them
  const { pipelines, signal, onEvent, onStage } = execution;
  onStage("loading");
  const plan = await planOf(job, folder, execution);
  const store = openReportStore(job, plan, { work, results: execution.results });
  const clock = pictureClock();
  const onSample = async (sample: ReportSample) => {
    onStage("saving");
    if (sample.picture !== null) clock.drawn();
    const event = await store.keep(sample);
    onEvent({ type: "retake", retake: event });
  };
  let page = false;
  try {
    await store.restore();
    await retakeJob(plan, {
      renderer: rendererOf(pipelines, { signal, onStage }),
      folder: work,
      signal,
      ...(job.limitSeconds === null ? {} : { limitSeconds: job.limitSeconds }),
      says: (message) => withoutPaths(message, execution.pathNames),
      onProgress: (progress) => onEvent(progressEvent(progress, clock)),
      onSample,
    }).catch(async (error: unknown) => {
      // It wrote its report on what was done before it threw.
      if (error instanceof CanceledError) page = await store.publish();
      throw error;
    });
    onStage("saving");
    await store.publish();
  } catch (error) {
    const reached = {
      model: job.model,
      where: "",
      promptIndex: store.started ? 0 : null,
      images: [],
    };
    const { failure, retryable } = failureOf(error, reached, execution);
    throw new JobError({ ...failure, promptIndex: null, page }, retryable, { cause: error });
  }
  const inferenceTime = (performance.now() - startedAt) / 1000;
  return { images: [], timings: { inference_total: inferenceTime }, inferenceTime };
}

/** @throws JobError if the folder is no job that can be taken again */
async function planOf(
  { options }: RetakeJob,
  folder: string,
  { pathNames, pixelSteps }: Pick<Execution, "pathNames" | "pixelSteps">,
): Promise<Plan> {
  const says = (message: string) => withoutPaths(message, pathNames);
  try {
    // None of this process's variables stands for ${VAR} in a stranger's file.
    const job = await readJobFolder(folder, { environment: {} });
    const plan = planRetakes(job, options);
    return {
      ...plan,
      job: { ...job, notes: job.notes.map(says) },
      samples: plan.samples.map((sample) => withinBounds(sample, pixelSteps, says)),
    };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    const failure = { code: "JOB_NOT_USABLE", message: says(error.message) };
    throw new JobError({ ...failure, promptIndex: null, images: [] }, false, { cause: error });
  }
}

/** The operator's bound of a picture holds for what a configuration asks for too. */
function withinBounds(
  sample: PlannedSample,
  pixelSteps: number,
  says: (message: string) => string,
): PlannedSample {
  const { request, reason } = sample;
  if (request === null) return { ...sample, reason: reason === null ? null : says(reason) };
  const { width = 0, height = 0, steps = 0 } = request;
  if (width * height * steps <= pixelSteps) return sample;
  return {
    ...sample,
    request: null,
    candidates: [],
    reason: `it has ${width} x ${height} pixels and ${steps} steps, and this server draws at most ${pixelSteps} pixels times steps`,
  };
}

interface PictureClock {
  drawn(): void;
  /** Of so many pictures; null until one was drawn. */
  secondsFor(pictures: number): number | null;
}

function pictureClock(): PictureClock {
  const startedAt = performance.now();
  let count = 0;
  return {
    drawn: () => void count++,
    secondsFor(pictures) {
      if (count === 0) return null;
      return ((performance.now() - startedAt) / 1000 / count) * pictures;
    },
  };
}

function progressEvent({ done, total, step, steps }: RetakeProgress, clock: PictureClock) {
  return {
    ...{ type: "progress" as const, promptIndex: done, prompts: total, step, total: steps },
    secondsLeft: clock.secondsFor(total - done),
  };
}
