import type { PictureJob } from "./job.ts";
import type { GenerateInput } from "./request.ts";
import { seedOfText } from "./seed.ts";

/** One prompt of a job as a request for one picture, without its LoRAs. */
export function promptRequest(job: PictureJob, index: number): GenerateInput {
  const prompt = job.prompts[index]!;
  return {
    prompt: prompt.prompt,
    negativePrompt: prompt.negativePrompt,
    profile: job.profile,
    seed: seedOfText(prompt.seed),
    ...(prompt.triggerWord === null ? {} : { triggerWord: prompt.triggerWord }),
    ...(prompt.width === null ? {} : { width: prompt.width }),
    ...(prompt.height === null ? {} : { height: prompt.height }),
    ...(prompt.steps === null ? {} : { steps: prompt.steps }),
    ...(prompt.guidanceScale === null ? {} : { guidanceScale: prompt.guidanceScale }),
  };
}
