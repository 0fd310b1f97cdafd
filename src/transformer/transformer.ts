import { DeviceCopies } from "../onnx/device-copies.ts";
import { DeviceMemory } from "../onnx/device-memory.ts";
import type { WeightLookup } from "../onnx/graph.ts";
import { ResidentWeights } from "../onnx/resident-weights.ts";
import type { Feeds, IntTensor } from "../onnx/session.ts";
import type { Target } from "../onnx/target.ts";
import { stopPoint } from "../stop-point.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { AdaptableSession, feedsOf } from "./adaptable-session.ts";
import type { AdapterModules } from "./adapter.ts";
import { buildCaptionGraph } from "./caption-graph.ts";
import type { TransformerConfig } from "./config.ts";
import { patchSize, sequenceMultiple } from "./config.ts";
import { cutsFor } from "./cuts.ts";
import { buildModulationGraph, timeVectors } from "./modulation-graph.ts";
import { patchify, unpatchify } from "./patches.ts";
import type { RopeTable } from "./rope.ts";
import { captionPositions, concatRopes, imagePositions, ropeTable } from "./rope.ts";
import { buildStepGraph } from "./step-graph.ts";
import { graphOf } from "./weight-shapes.ts";

/** What stays the same for all steps of a request. */
export interface Conditions {
  /** Prompt embeds [length, captionDim]: the prompt's, then with guidance the negative prompt's. */
  readonly promptEmbeds: readonly Tensor[];
  /** [steps], 1000·sigma. */
  readonly timesteps: Float32Array;
  /** [1, channels, height, width] */
  readonly latentShape: readonly number[];
  readonly adapter: AdapterModules;
  readonly signal?: AbortSignal | undefined;
}

/** The network's output for each prompt, [1, channels, height, width], not negated. */
export type PredictStep = (latents: Tensor, stepIndex: number) => Promise<Tensor[]>;

/** A loaded transformer: three graphs over the same weights, split by what each depends on. */
export class Transformer {
  readonly #config: TransformerConfig;
  readonly #target: Target;
  readonly #memory: DeviceMemory | null;
  readonly #weights: ResidentWeights | undefined;
  readonly #copies: DeviceCopies;
  readonly #caption: AdaptableSession;
  readonly #modulation: AdaptableSession;
  readonly #step: AdaptableSession;

  constructor(config: TransformerConfig, lookup: WeightLookup, target: Target) {
    this.#config = config;
    this.#target = target;
    this.#memory = target.weights === "resident" ? new DeviceMemory(target) : null;
    this.#weights = this.#memory === null ? undefined : new ResidentWeights(this.#memory);
    this.#copies = new DeviceCopies(this.#memory);
    const shared = { target, weights: this.#weights, copies: this.#copies };
    this.#caption = new AdaptableSession(
      (adapted, { cuts }) => buildCaptionGraph(config, lookup, target, adapted, cuts),
      (module) => graphOf(module) === "caption",
      shared,
    );
    this.#modulation = new AdaptableSession(
      (adapted) => buildModulationGraph(config, lookup, target, adapted),
      (module) => graphOf(module) === "modulation",
      shared,
    );
    this.#step = new AdaptableSession(
      (adapted, { captions, cuts }) =>
        buildStepGraph(config, lookup, target, adapted, captions, cuts),
      (module) => graphOf(module) === "step",
      shared,
    );
  }

  /**
   * Computes what does not depend on the latents, and answers with the step that does.
   *
   * @throws CanceledError between two graphs after the signal
   */
  async prepare({
    promptEmbeds,
    timesteps,
    latentShape,
    adapter,
    signal,
  }: Conditions): Promise<PredictStep> {
    const config = this.#config;
    const rows = latentShape[2]! / patchSize;
    const columns = latentShape[3]! / patchSize;
    const pads = padsOf(rows * columns);
    const adapterValues = feedsOf(adapter);
    await this.#copies.hold(adapterValues);

    const captions: Tensor[] = [];
    const imageRopes: RopeTable[] = [];
    const joinedRopes: RopeTable[] = [];
    for (const embeds of promptEmbeds) {
      await stopPoint(signal);
      const padded = embeds.shape[0]! + padsOf(embeds.shape[0]!);
      const captionRope = ropeTable(config, captionPositions(padded));
      const imageRope = ropeTable(config, imagePositions(padded, rows, columns, pads));
      captions.push(await this.#refineCaption(embeds, captionRope, adapter));
      imageRopes.push(imageRope);
      joinedRopes.push(imageRope, captionRope);
    }

    await stopPoint(signal);
    const time = timeVectors(timesteps, config.timeScale);
    const { scales, final_scale } = await this.#modulation.run({ time }, adapter);
    const imageRope = concatRopes(imageRopes);
    const joinedRope = concatRopes(joinedRopes);
    const imageTokens = rows * columns + pads;
    const fixed: Feeds = {
      pads: ints([pads]),
      image_cos: imageRope.cos,
      image_sin: imageRope.sin,
      cos: joinedRope.cos,
      sin: joinedRope.sin,
      ...Object.fromEntries(captions.map((caption, i) => [`caption.${i}`, caption])),
      ...(captions.length === 1
        ? {}
        : {
            image_lengths: ints(captions.map(() => imageTokens)),
            lengths: ints(captions.map((caption) => imageTokens + caption.shape[0]!)),
          }),
    };
    await this.#copies.hold({ ...adapterValues, ...fixed });
    const count = captions.length === 1 ? 1 : 2;
    const longest = imageTokens + Math.max(...captions.map((caption) => caption.shape[0]!));
    const form = { captions: count, cuts: cutsFor(this.#target, config, longest, count) } as const;

    return async (latents, stepIndex) => {
      const results = await this.#step.run(
        {
          ...fixed,
          patches: patchify(latents),
          final_scale: rowOf(final_scale!, stepIndex),
          ...(scales === undefined ? {} : { scales: rowOf(scales, stepIndex) }),
        },
        adapter,
        form,
      );
      const predictions = results.predictions!;
      return captions.map((_, i) => unpatchify(rowOf(predictions, i), latentShape));
    };
  }

  async release(): Promise<void> {
    for (const session of [this.#caption, this.#modulation, this.#step]) await session.release();
    this.#copies.release();
    this.#weights?.release();
    await this.#memory?.release();
  }

  async #refineCaption(embeds: Tensor, rope: RopeTable, adapter: AdapterModules): Promise<Tensor> {
    const pads = ints([padsOf(embeds.shape[0]!)]);
    const feeds = { prompt_embeds: embeds, pads, cos: rope.cos, sin: rope.sin };
    const cuts = cutsFor(this.#target, this.#config, rope.cos.shape[0]!, 1);
    const { caption } = await this.#caption.run(feeds, adapter, { cuts });
    return caption!;
  }
}

/** How many pads fill a sequence up to a multiple of 32. */
function padsOf(length: number): number {
  return (sequenceMultiple - (length % sequenceMultiple)) % sequenceMultiple;
}

function ints(values: readonly number[]): IntTensor {
  return { data: BigInt64Array.from(values, BigInt), shape: [values.length] };
}

/** Row i along the first axis, sharing memory. */
function rowOf({ data, shape }: Tensor, i: number): Tensor {
  const rest = shape.slice(1);
  const size = data.length / shape[0]!;
  return { data: data.subarray(i * size, (i + 1) * size), shape: rest };
}
