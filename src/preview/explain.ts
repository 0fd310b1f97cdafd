import type { GenerateRequest } from "../job/request.ts";
import type { Rounding } from "../job/rounding.ts";
import type { LoraInfo } from "../lora/info.ts";
import { eraOfHeader } from "../models/eras.ts";
import { guidanceScaleFor, profiles } from "../models/profiles.ts";
import { modelById } from "../models/registry.ts";
import { usualRounding } from "../models/rounding-for.ts";
import type { WeightSpan } from "../onnx/graph.ts";
import type { Decided } from "../pipeline/decide.ts";
import { decide } from "../pipeline/decide.ts";
import type { ModelReport } from "../pipeline/inspect.ts";
import { describeRounding } from "../pipeline/parameters.ts";
import { cutWarning } from "../prompt/encode-prompt.ts";
import { usefulSteps } from "../sampler/schedule.ts";
import { adaptableModules } from "../transformer/weight-shapes.ts";
import type { Explanation } from "../wire/explain-answers.ts";
import type { NamedLora } from "./explain-lora.ts";
import { lookAt } from "./explain-lora.ts";
import { promptWarnings, textFacts, unsaidTrigger } from "./explain-prompt.ts";
import type { StatedRequest } from "./stated-request.ts";

export interface Explained {
  /** What was read, in words. */
  readonly source: string;
  /** Its `path`s are not looked at. */
  readonly request: GenerateRequest;
  /** As many as the request has, in its order. */
  readonly loras: readonly NamedLora[];
  /** The tool's own words, where its picture was read. */
  readonly tool: StatedRequest["tool"];
  /** `usual`: as the trainer's page sets a job up, in the version of the first LoRA. */
  readonly asTrained: Rounding | "usual" | null;
  /** What the source could not carry over, each a sentence. */
  readonly warnings: readonly string[];
  readonly report: ModelReport;
}

/** What Turbo's repository has; it counts where that is not here. */
const usualShift = 3;

/** What a request comes to, and where. Of the LoRAs the headers are read, of the weights nothing more. */
export interface Explaining extends Decided {
  readonly explanation: Explanation;
  /** What the headers of its LoRAs say; null where a file could not be read. */
  readonly headers: readonly (LoraInfo | null)[];
  readonly rounding: Rounding | null;
}

/**
 * Says everything effective about one request: sizes, noise levels, what its guidance is called elsewhere,
 * texts and tokens, what its LoRAs change, how weights are stored.
 *
 * @throws InputError if the profile refuses the size
 */
export async function explain({
  source,
  tool,
  request,
  loras,
  asTrained,
  warnings,
  report,
}: Explained): Promise<Explaining> {
  const model = modelById(report.model);
  const shift = report.shift ?? usualShift;
  const modules = report.transformer === null ? null : adaptableModules(report.transformer);
  const looked = await Promise.all(
    loras.map((lora, i) => lookAt(lora, request.loras[i]!.multiplier, modules)),
  );
  const headers = looked.map(({ file }) => file?.info ?? null);
  const unknown = { trainer: null, trainerVersion: null };
  const known = headers.map((header) => header ?? unknown);
  const decided = decide(request, model, shift, known);
  const { effective, schedule, profile, prompt } = decided;
  const rounding = asTrained === "usual" ? usualFor(model.id, known[0]) : asTrained;
  const { guidanceWeight: weight } = effective;
  const positive = textFacts(prompt, report.tokenizer);
  const negative = textFacts(request.negativePrompt, report.tokenizer);
  return {
    ...decided,
    headers,
    rounding,
    explanation: {
      source,
      tool,
      model: model.id,
      profile: { name: profile.name, asked: request.profile, reason: decided.reason },
      size: {
        asked: [request.width ?? model.width, request.height ?? model.height],
        width: effective.width,
        height: effective.height,
        divisor: profile.divisor,
      },
      steps: {
        asked: effective.steps,
        updates: usefulSteps(schedule).length,
        schedule: profile.schedule,
        shift,
        sigmas: Array.from(schedule.sigmas),
      },
      guidance: {
        scale: effective.guidanceScale,
        weight,
        standard_cfg: weight + 1,
        meanings: meaningsOf(weight),
      },
      prompt: positive,
      negative_prompt: negative,
      negative_counts: weight !== 0,
      seed: String(effective.seed),
      noise: noiseOf(report, effective),
      loras: looked.map(({ facts }) => facts),
      weights: report.components
        .filter(({ weights, state }) => weights.size > 0 || state !== "there")
        .map(({ name, state, bytes, weights }) => ({
          name,
          state,
          bytes,
          stored: [...new Set([...weights.values()].map(storedAs))].toSorted(),
        })),
      as_trained: describeRounding(
        rounding === null ? null : { rounding, adapter: rounding.adapter },
      ),
      warnings: [
        ...warnings,
        ...decided.warnings,
        ...promptWarnings(prompt, request.triggerWord),
        ...looked.flatMap(({ file, facts }) => unsaidTrigger(prompt, facts.name, file)),
        ...cutWarning("prompt", positive.cut_text),
        ...(weight === 0 ? [] : cutWarning("negative prompt", negative.cut_text)),
        ...looked.flatMap(({ facts }) => facts.problem ?? []),
        ...(report.shift === null
          ? [`The model's schedule is not here: its usual shift, ${usualShift}, is taken.`]
          : []),
      ],
    },
  };
}

/** As the trainer's page sets a job up, in the version that a LoRA's header tells. */
export function usualFor(
  model: string,
  header: Pick<LoraInfo, "trainer" | "trainerVersion"> | undefined,
): Rounding {
  const era = header === undefined ? null : eraOfHeader(header);
  return usualRounding(model, era === null || "none" in era ? null : era.version);
}

/** What gives the same guidance in tools and in this API's profiles. */
function meaningsOf(weight: number): Explanation["guidance"]["meanings"] {
  const standard = weight + 1;
  return [
    { where: "ComfyUI", name: "cfg", value: standard },
    { where: "A1111, Forge", name: "CFG scale", value: standard },
    { where: "diffusers", name: "guidance_scale", value: weight },
    ...Object.values(profiles).map((profile) => ({
      where: `profile ${profile.name}`,
      name: "guidance_scale",
      value: guidanceScaleFor(profile, weight),
    })),
  ];
}

function noiseOf({ transformer }: ModelReport, { width, height }: Decided["effective"]): string {
  const channels = transformer?.inChannels ?? 16;
  return `torch's CPU generator, float32, [1, ${channels}, ${height / 8}, ${width / 8}]`;
}

function storedAs({ dtype, blocks }: WeightSpan): string {
  return blocks === undefined ? dtype : `${blocks.bits} bits in blocks of ${blocks.size}`;
}
