import { mostListed } from "../errors.ts";
import type { GenerateInput } from "../job/request.ts";
import { generateRequestSchema } from "../job/request.ts";
import type { JobConfig } from "./job-config.ts";
import type { JobFolder } from "./job-folder.ts";
import { openVariables } from "./placeholders.ts";
import { requestOf } from "./request-of.ts";
import type { Drawn } from "./samples.ts";
import { isMerged } from "./samples.ts";
import type { Target } from "./targets.ts";
import type { TrainedLora } from "./trained-loras.ts";

/**
 * Why a picture can't be taken again; null if it can.
 *
 * @param drawn all of its round
 */
export function reasonAgainst(
  job: JobFolder,
  { step, index, set }: Target,
  lora: TrainedLora | null,
  drawn: readonly Drawn[],
): string | null {
  const sample = drawn[index];
  if (sample === undefined) {
    return `the configuration has ${drawn.length} samples, and this is of sample ${index}, counted from 0: it was drawn with an earlier configuration`;
  }
  if ("fault" in sample) return sample.fault;
  const [variable] = openVariables(sample.prompt + sample.negativePrompt);
  if (variable !== undefined && job.configFile !== "config.yaml") {
    return `its prompt takes \${${variable}} from the environment, where it is not set`;
  }
  if (sample.seed === "random") {
    return "its seed is -1: the trainer drew one for this picture alone and wrote it down nowhere";
  }
  return (
    whyNoModel(job, step, lora, sample.multiplier) ??
    whyCorrupted(job, step, set, sample.multiplier, drawn) ??
    whyBeyond(requestOf({ ...sample, seed: sample.seed }, [], "reference"), sample.multiplier)
  );
}

function whyNoModel(
  { config, loras }: JobFolder,
  step: number,
  lora: TrainedLora | null,
  multiplier: number,
): string | null {
  const [unknown] = config.model.unknown;
  if (unknown !== undefined) {
    return `it was drawn with model.${unknown}, which Retake does not know`;
  }
  if (config.network === null && step > 0) {
    return "the job trained the model itself, not a LoRA: it needs the weights of its step";
  }
  if (step === 0) return multiplier === 0 ? null : whyNotUntrained(config);
  if (lora === null) {
    if (multiplier === 0) return null;
    const left = [...new Set(loras.flatMap((one) => one.step ?? []))].toSorted((a, b) => a - b);
    const more = left.length > mostListed ? ` and ${left.length - mostListed} more` : "";
    const shown = left.slice(0, mostListed).join(", ");
    const steps = left.length === 0 ? "there is none" : `those of step ${shown}${more} are left`;
    return `the LoRA of step ${step} is not in the folder: ${steps}`;
  }
  return lora.unusable;
}

/** Step 0 shows the base model where the network begins as nothing, as most do. */
function whyNotUntrained({ network }: JobConfig): string | null {
  if (network?.startsFromLora === true) {
    return "training began with another LoRA (network.pretrained_lora_path), which step 0 shows";
  }
  return network?.type === "fullrank"
    ? "a fullrank network begins with random weights, which step 0 shows and no file holds"
    : null;
}

/** A negative multiplier is merged in as it is and out as if it were positive: `merge_out` of network_mixins.py. */
function whyCorrupted(
  { config, previews }: JobFolder,
  step: number,
  set: Target["set"],
  multiplier: number,
  drawn: readonly Drawn[],
): string | null {
  if (multiplier >= 0) return null;
  if (set === "first_sample" || !isMerged(config, drawn)) return null;
  // What merges before it is trained merges nothing, but for random weights.
  const begins = config.network?.type === "fullrank" ? 0 : 1;
  const trained = previews.map((preview) => preview.step).filter((one) => one >= begins);
  const { every } = config.sample;
  const planned = typeof every === "number" && every > 0 ? [every] : [];
  const first = Math.min(...trained.slice(0, 1), ...planned);
  if (step <= first) return null;
  return `all samples share the multiplier ${multiplier}: the trainer took it off its weights with the wrong sign after step ${first}, and drew this with what was left`;
}

function whyBeyond(request: GenerateInput, multiplier: number): string | null {
  if (!Number.isFinite(multiplier)) return `its multiplier is ${multiplier}`;
  const parsed = generateRequestSchema.safeParse(request);
  if (parsed.success) return null;
  const [issue] = parsed.error.issues;
  return `Retake draws no such picture: ${issue!.path.join(".")}: ${issue!.message}`;
}
