import { basename } from "node:path";
import { InputError } from "../errors.ts";
import { readJobFolder } from "./job-folder.ts";
import type { Environment } from "./placeholders.ts";
import type { PlannedSample } from "./plan.ts";
import { planRetakes } from "./plan.ts";
import { sampleAt } from "./sample-at.ts";
import { stateSample } from "./state-sample.ts";
import type { StatedRequest } from "./stated-request.ts";

/**
 * The request that a training's preview was drawn with, with the LoRA of its step.
 *
 * @param path a job's folder: the last preview of a sample is meant; or one preview in its `samples/`
 * @param sample its number; undefined: the first
 * @throws InputError if it is no job, or the preview can't be drawn again
 */
export async function stateJob(
  path: string,
  sample: number | undefined,
  environment: Environment,
): Promise<StatedRequest> {
  const job = await readJobFolder(path, { environment });
  const { samples, model } = planRetakes(job);
  if (job.only !== null) {
    const [one] = samples;
    if (one === undefined) throw new InputError(`${path} is no preview of the job ${job.name}.`);
    return statePlanned(one, job.name, []);
  }
  const { index, warnings } = sampleAt(sample, job.config.sample.items.length, "samples");
  const last = samples.findLast((one) => one.index === index && one.request !== null);
  if (last === undefined) return stateSample(job.config, model, index, job.configFile);
  return statePlanned(last, job.name, warnings);
}

function statePlanned(
  { preview, step, index, model, request, rounding, reason, candidates }: PlannedSample,
  job: string,
  warnings: readonly string[],
): StatedRequest {
  const what = preview?.file ?? `sample ${index} at step ${step}`;
  if (request === null) throw new InputError(`${what} can't be drawn again: ${reason}.`);
  const { loras = [], ...rest } = request;
  return {
    source: `${what} of the job ${job}`,
    model,
    request: rest,
    loras: loras.map(({ path, multiplier }) => ({
      name: basename(path),
      multiplier,
      sha256: null,
      file: path,
    })),
    asTrained: rounding,
    tool: null,
    warnings: [
      ...warnings,
      ...(candidates.length < 2
        ? []
        : [
            `It may have been drawn in ${candidates.length} ways: ${candidates.map(({ says }) => says).join("; ")}. ` +
              "The first is taken; retake preview finds out which it was.",
          ]),
    ],
  };
}
