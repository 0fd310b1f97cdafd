import { encodeImage } from "../image/encode-image.ts";
import type { JobEvent, JobImage, JobResult, PictureJob } from "../job/job.ts";
import { promptRequest } from "../job/prompt-request.ts";
import type { GenerateInput } from "../job/request.ts";
import type { Rounding } from "../job/rounding.ts";
import { seedToText } from "../job/seed.ts";
import { readLora } from "../lora/file.ts";
import { eraOfHeader } from "../models/eras.ts";
import { modelById } from "../models/registry.ts";
import { usualRounding } from "../models/rounding-for.ts";
import type { WeightsFingerprint } from "../pipeline/fingerprint.ts";
import type { Generated, StepProgress } from "../pipeline/generate.ts";
import type { ResultStore } from "../storage/results.ts";
import { outputName, previewName } from "../storage/results.ts";
import { failureOf, writeResult } from "./failure.ts";
import type { Pipelines } from "./pipelines.ts";
import type { Stage } from "./stages.ts";
import { previewOf } from "./step-preview.ts";

export interface Execution {
  readonly pipelines: Pipelines;
  readonly results: ResultStore;
  /** Where what the job names lies: its LoRAs in their order; or its folder, and one to make a report in. */
  readonly paths: readonly string[];
  /** Most pixels times steps of a picture; the API holds its own requests to it. */
  readonly pixelSteps: number;
  /** Paths of this machine that the client knows by another name. */
  readonly pathNames: ReadonlyMap<string, string>;
  readonly signal: AbortSignal;
  readonly onEvent: (event: JobEvent) => void;
  readonly onStage: (stage: Stage) => void;
  /** What only the operator may read. */
  readonly log: (error: unknown, message: string) => void;
}

type Description = Generated["parameters"] & { readonly weights: WeightsFingerprint };
type LoadedPipeline = Awaited<ReturnType<Pipelines["get"]>>;

/** Text that a JPEG's Exif surely holds, escapes included. */
const mostJpegText = 60_000;

/**
 * Makes a job's pictures in order with one pipeline.
 *
 * @throws JobError naming the prompt that failed; pictures finished before it are kept and listed
 */
export async function execute(job: PictureJob, execution: Execution): Promise<JobResult> {
  const startedAt = performance.now();
  const images: JobImage[] = [];
  let promptIndex: number | null = null;
  try {
    const loading = performance.now();
    execution.onStage("loading");
    if (job.asTrained) promptIndex = 0;
    const rounding = job.asTrained ? await roundingOf(job.model, execution.paths) : null;
    promptIndex = null;
    const loaded = await execution.pipelines.get(job.model, rounding, execution.signal);
    const loadModel = seconds(performance.now() - loading);
    const loraLoads: Generated["loaded"][] = [];
    const timings: { generate: number; save: number }[] = [];
    const clock = stepClock(job);
    for (const index of job.prompts.keys()) {
      promptIndex = index;
      const made = await makeImage(job, index, loaded, execution, clock);
      images.push(made.image);
      timings.push(made.timings);
      loraLoads.push(made.loaded);
      execution.onEvent({ type: "image", image: made.image });
    }
    const inferenceTime = seconds(performance.now() - startedAt);
    const loadLoras = loraLoads.reduce((sum, load) => sum + load.seconds, 0);
    return {
      images,
      timings: {
        get_pipeline: loadModel + loadLoras,
        pipeline_details: {
          cache_hit: !loaded.fresh,
          // The first prompt brings the LoRAs for the others.
          cache_action: cacheAction(loaded, loraLoads[0]?.cached === false),
          load_model: loadModel,
          load_lora: loadLoras,
        },
        inference_total: inferenceTime,
        prompts: timings,
      },
      inferenceTime,
    };
  } catch (error) {
    const where =
      promptIndex === null || job.prompts.length === 1
        ? ""
        : `prompt ${promptIndex + 1} of ${job.prompts.length}: `;
    throw failureOf(error, { model: job.model, where, promptIndex, images }, execution);
  }
}

/** As the trainer's page has it, in the version that the first LoRA was trained with. */
async function roundingOf(model: string, [first]: readonly string[]): Promise<Rounding> {
  if (first === undefined) return usualRounding(model, null);
  const era = eraOfHeader((await readLora(first)).info);
  return usualRounding(model, "none" in era ? null : era.version);
}

/** The reference's words for what happened to its one pipeline. */
function cacheAction({ fresh, evicted }: LoadedPipeline, swapped: boolean): string {
  if (fresh) return evicted ? "reload_model_changed" : "fresh_load";
  return swapped ? "hot_swap" : "reuse";
}

async function makeImage(
  job: PictureJob,
  promptIndex: number,
  { pipeline, fingerprint }: LoadedPipeline,
  execution: Execution,
  clock: StepClock,
): Promise<{
  image: JobImage;
  timings: { generate: number; save: number };
  loaded: Generated["loaded"];
}> {
  const { results, paths, signal, onEvent, onStage, log } = execution;
  const request = requestFor(job, promptIndex, paths);
  const generating = performance.now();
  let previewFailed = false;
  const onStep = async (progress: StepProgress) => {
    const { step, total } = progress;
    onEvent({
      type: "progress",
      promptIndex,
      step,
      total,
      secondsLeft: clock(promptIndex, progress),
    });
    if (job.previewEvery === null || step % job.previewEvery !== 0 || step === total) return;
    const file = previewName(job, promptIndex, step);
    try {
      await results.write(file, await encodeImage(await previewOf(pipeline, progress), "jpeg", {}));
      onEvent({ type: "preview", promptIndex, step, file });
    } catch (error) {
      // The picture is what was asked for: it goes on without. A later one is tried again.
      if (!previewFailed) log(error, "a preview was dropped");
      previewFailed = true;
    }
  };
  const generated = await pipeline.generate(request, { signal, onStage, onStep });
  onStage("saving");
  const saving = performance.now();
  const described: Description = { ...generated.parameters, weights: fingerprint };
  // Beside it in the record, in digits.
  const { seed: _, ...effective } = described;
  const { file, bytes } = await saveImage(job, promptIndex, generated, described, results);
  const [, height, width] = generated.image.shape;
  return {
    image: {
      promptIndex,
      format: job.format,
      width: width!,
      height: height!,
      seed: seedToText(generated.effective.seed),
      file,
      bytes,
      effective: { ...effective, warnings: [...generated.warnings] },
    },
    timings: {
      generate: seconds(saving - generating) - generated.loaded.seconds,
      save: seconds(performance.now() - saving),
    },
    loaded: generated.loaded,
  };
}

async function saveImage(
  job: PictureJob,
  promptIndex: number,
  { image }: Generated,
  described: Description,
  results: ResultStore,
): Promise<{ file: string; bytes: number }> {
  const file = outputName(job, promptIndex);
  const encoded = await encodeImage(image, job.format, fitting(job, described));
  await writeResult(results, file, encoded);
  return { file, bytes: encoded.byteLength };
}

/** A prompt that is too long for a JPEG's metadata is left out of it, and the metadata says so. */
function fitting(job: PictureJob, described: Description): object {
  const escaped = JSON.stringify(described).replaceAll(/[^\0-\x7f]/g, "\\u0000");
  if (job.format === "png" || escaped.length <= mostJpegText) return described;
  const { prompt: _, negative_prompt: __, ...rest } = described;
  return { ...rest, omitted: ["prompt", "negative_prompt"] };
}

function requestFor(
  job: PictureJob,
  promptIndex: number,
  loraFiles: readonly string[],
): GenerateInput {
  return {
    ...promptRequest(job, promptIndex),
    loras: job.loras.map(({ multiplier }, i) => ({ path: loraFiles[i]!, multiplier })),
  };
}

type StepClock = (promptIndex: number, progress: StepProgress) => number | null;

/** Tells how long the rest of a job takes, from the steps so far; prompts to come count by their own steps. */
function stepClock({ prompts, model }: PictureJob): StepClock {
  const { steps: defaultSteps } = modelById(model);
  let first: number | undefined;
  let timed = 0;
  return (promptIndex, { step, total }) => {
    const now = performance.now();
    if (first === undefined) {
      // The first step also reads weights from disk: counting begins at its end.
      first = now;
      return null;
    }
    timed++;
    const later = prompts
      .slice(promptIndex + 1)
      .reduce((sum, { steps }) => sum + (steps ?? defaultSteps), 0);
    return seconds(((now - first) / timed) * (total - step + later));
  };
}

function seconds(milliseconds: number): number {
  return milliseconds / 1000;
}
