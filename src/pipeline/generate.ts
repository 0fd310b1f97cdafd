import { InputError } from "../errors.ts";
import type { GenerateRequest } from "../job/request.ts";
import { cutWarning, encodePrompt } from "../prompt/encode-prompt.ts";
import { denoise, guide, negate } from "../sampler/denoise.ts";
import type { Schedule } from "../sampler/schedule.ts";
import { stopPoint } from "../stop-point.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { AdapterModules } from "../transformer/adapter.ts";
import type { Components } from "./components.ts";
import type { ActiveLora } from "./compose-adapters.ts";
import { composeAdapters } from "./compose-adapters.ts";
import { decide } from "./decide.ts";
import { requireAnswer, requireFinite } from "./finite.ts";
import type { Meaning } from "./meaning.ts";
import { drawNoise, scheduleOf, zerosLike } from "./meaning.ts";
import type { Effective } from "./parameters.ts";
import { describeResult } from "./parameters.ts";
import type { Pipeline } from "./pipeline.ts";
import type { Trace } from "./trace.ts";

export interface StepProgress {
  /** Useful steps done, from 1. */
  readonly step: number;
  readonly total: number;
  /** [1, channels, h, w] after the step. */
  readonly latents: Tensor;
  readonly noisePred: Tensor;
  /** Noise level of the latents. */
  readonly sigma: number;
}

/** What a picture is made in. None of it can be interrupted in its middle but the first, by module. */
export const generateStages = [
  "reading LoRAs",
  "encoding",
  "preparing",
  "step",
  "decoding",
] as const;

export interface GenerateOptions {
  readonly signal?: AbortSignal;
  /** Told before each stage, and before each step. */
  readonly onStage?: (stage: (typeof generateStages)[number]) => void;
  /** Told before the first step what the picture is made with. */
  readonly onDecided?: (
    decided: Pick<Generated, "effective" | "parameters" | "warnings">,
  ) => Promise<void> | void;
  /** The next step waits for what it returns. */
  readonly onStep?: (progress: StepProgress) => Promise<void> | void;
  /** Collects every stage's tensors for comparison with the reference. */
  readonly trace?: Trace;
  /** Takes the place of what the profile says; the parameters in the result don't know it. */
  readonly meaning?: Meaning;
}

export interface Generated {
  /** [3, height, width] in [0, 1], before rounding. */
  readonly image: Tensor;
  readonly effective: Effective;
  readonly schedule: Schedule;
  /** All that decided how the picture looks, as JSON for its file: see `describeResult`. */
  readonly parameters: Readonly<Record<string, unknown>>;
  /** How the request's LoRAs came into memory. */
  readonly loaded: {
    /** All of them were there already; true if there are none. */
    readonly cached: boolean;
    readonly seconds: number;
  };
  readonly warnings: readonly string[];
}

/**
 * From a request to its picture: prompt, prompt embeds, noise, denoising,
 * decoding.
 *
 * @throws InputError if something about the request, the LoRA or the weights is wrong
 * @throws CanceledError after the signal, when the stage or the step that runs has ended
 */
export async function generate(
  pipeline: Pipeline,
  request: GenerateRequest,
  { signal, onStage, onDecided, onStep, trace, meaning = {} }: GenerateOptions,
): Promise<Generated> {
  const begin = async (stage: (typeof generateStages)[number]) => {
    await stopPoint(signal);
    onStage?.(stage);
  };
  const { components } = pipeline;
  await begin("reading LoRAs");
  const { loras, loaded } = await openLoras(pipeline, request.loras, signal);
  const headers = loras.map(({ lora }) => lora.file.info);
  const decided = decide(request, components.model, components.shift, headers);
  const { prompt } = decided;
  const effective = {
    ...decided.effective,
    guidanceWeight: meaning.guidanceWeight ?? decided.effective.guidanceWeight,
  };
  const latentShape = latentShapeFor(components, effective);
  const adapter = await pipeline.trainingAdapter(signal);
  const guided = effective.guidanceWeight !== 0;

  const { inputIds, cutText } = encodePrompt(components.tokenizer, prompt);
  const negative = encodePrompt(components.tokenizer, request.negativePrompt);
  await begin("encoding");
  const texts = guided ? [inputIds, negative.inputIds] : [inputIds];
  const encoded = await pipeline.encode(texts, signal);
  const promptEmbeds =
    guided && meaning.negative === "zeros" ? [encoded[0]!, zerosLike(encoded[0]!)] : encoded;
  const warnings = [
    ...decided.warnings,
    ...cutWarning("prompt", cutText),
    ...(guided ? cutWarning("negative prompt", negative.cutText) : []),
  ];

  const schedule = meaning.sigmas === undefined ? decided.schedule : scheduleOf(meaning.sigmas);
  const noise = drawNoise(effective.seed, latentShape, meaning.noise, schedule);
  const parameters = describeResult(components, request, {
    device: pipeline.device,
    effective,
    profileReason: decided.reason,
    schedule,
    prompt,
    loras: loras.map(({ lora }) => lora),
  });
  await onDecided?.({ effective, parameters, warnings });
  trace?.inputs({ inputIds, negativeIds: negative.inputIds, promptEmbeds, schedule, noise });

  const acting = await pipeline.measured([...loras, ...adapter], signal);
  const latents = await denoiseLatents(pipeline, composeAdapters(acting), {
    promptEmbeds,
    schedule,
    noise,
    guidanceWeight: effective.guidanceWeight,
    sampler: meaning.sampler,
    signal,
    onStage,
    onStep: async ({ step, ...rest }) => {
      trace?.step(step, rest.noisePred, rest.latents);
      await onStep?.({ step: step + 1, ...rest });
    },
  });

  await begin("decoding");
  const image = await pipeline.decode(latents);
  await stopPoint(signal);
  trace?.image(image);
  return {
    image,
    effective,
    schedule,
    parameters,
    loaded,
    warnings,
  };
}

async function openLoras(
  pipeline: Pipeline,
  requested: GenerateRequest["loras"],
  signal: AbortSignal | undefined,
): Promise<{ loras: ActiveLora[]; loaded: Generated["loaded"] }> {
  const startedAt = performance.now();
  const paths = requested.map(({ path }) => path);
  const { loras, cached } = await pipeline.openLoras(paths, signal);
  return {
    loras: requested.map(({ multiplier }, i) => ({ lora: loras[i]!, multiplier })),
    loaded: { cached, seconds: (performance.now() - startedAt) / 1000 },
  };
}

/** [1, channels, height/8, width/8]: even, so that patches fit. */
function latentShapeFor({ vae, transformer }: Components, { width, height }: Effective): number[] {
  const unit = 2 * vae.config.scaleFactor;
  for (const [side, size] of Object.entries({ width, height })) {
    if (size % unit !== 0) {
      throw new InputError(`${side} ${size}: this model's VAE takes multiples of ${unit} only.`);
    }
  }
  const { scaleFactor } = vae.config;
  return [1, transformer.config.inChannels, height / scaleFactor, width / scaleFactor];
}

interface Denoising {
  readonly promptEmbeds: readonly Tensor[];
  readonly schedule: Schedule;
  readonly noise: Tensor;
  readonly guidanceWeight: number;
  readonly sampler: Meaning["sampler"];
  readonly signal: AbortSignal | undefined;
  readonly onStage: GenerateOptions["onStage"];
  readonly onStep: Parameters<typeof denoise>[0]["onStep"];
}

function denoiseLatents(
  pipeline: Pipeline,
  adapter: AdapterModules,
  { promptEmbeds, schedule, noise, guidanceWeight, sampler, signal, onStage, onStep }: Denoising,
): Promise<Tensor> {
  return pipeline.withTransformer(async (transformer) => {
    onStage?.("preparing");
    const predict = await transformer.prepare({
      promptEmbeds,
      timesteps: schedule.timesteps,
      latentShape: noise.shape,
      adapter,
      signal,
    });
    return await denoise({
      latents: noise,
      schedule,
      predict: async (latents, stepIndex) => {
        onStage?.("step");
        const [positive, negative] = await predict(latents, stepIndex);
        const noisePred = negate(
          negative === undefined ? positive! : guide(positive!, negative, guidanceWeight),
        );
        const { components, target } = pipeline;
        await requireFinite(`step ${stepIndex + 1}`, noisePred, components.transformer);
        requireAnswer(noisePred, target.device);
        return noisePred;
      },
      sampler,
      signal,
      onStep,
    });
  });
}
