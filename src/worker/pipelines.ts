import type { Quantize } from "../config/model-options.ts";
import type { ModelDefinition } from "../models/registry.ts";
import { modelById } from "../models/registry.ts";
import type { Device } from "../onnx/device.ts";
import { computeDtypeFor } from "../onnx/device.ts";
import { openComponents } from "../pipeline/components.ts";
import type { WeightsFingerprint } from "../pipeline/fingerprint.ts";
import { fingerprintWeights, weightBytes, weightsIdentity } from "../pipeline/fingerprint.ts";
import { Pipeline } from "../pipeline/pipeline.ts";

export interface PipelinesOptions {
  readonly weights: string;
  /** Files to take transformers from, by model id. */
  readonly transformers: Readonly<Record<string, string>>;
  readonly quantize: "none" | Quantize;
  /** Where files are kept that weights are made into. */
  readonly cacheFolder: string;
  readonly device: Device;
  readonly keepOpen: boolean;
  /** Bytes of weights that may be loaded together; the newest pipeline may exceed it alone. */
  readonly memoryBudget: number;
}

interface Loaded {
  readonly pipeline: Pipeline;
  readonly fingerprint: WeightsFingerprint;
  readonly bytes: number;
}

/** Pipelines that stay loaded between jobs, the one unused for longest out first. */
export class Pipelines {
  readonly #options: PipelinesOptions;
  /** By what the weights are, oldest use first. */
  readonly #loaded = new Map<string, Loaded>();

  constructor(options: PipelinesOptions) {
    this.#options = options;
  }

  /** @returns `fresh` if it had to be loaded. @throws InputError if weights are missing or wrong */
  async get(
    modelId: string,
    signal?: AbortSignal,
  ): Promise<Loaded & { readonly fresh: boolean; readonly evicted: boolean }> {
    const model: ModelDefinition = modelById(modelId);
    const { weights, transformers, quantize, cacheFolder } = this.#options;
    const file = Object.hasOwn(transformers, modelId) ? transformers[modelId] : undefined;
    const components = await openComponents(weights, model, {
      cacheFolder,
      ...(signal === undefined ? {} : { signal }),
      ...(file === undefined ? {} : { transformer: file }),
      ...(quantize === "none" ? {} : { quantize }),
    });
    // Weights that were exchanged on disk make another pipeline, whatever their path.
    const key = `${modelId}\n${await weightsIdentity(components)}`;
    const known = this.#loaded.get(key);
    if (known !== undefined) {
      this.#loaded.delete(key);
      this.#loaded.set(key, known);
      return { ...known, fresh: false, evicted: false };
    }
    const bytes = weightBytes(components);
    const evicted = await this.#makeRoom(bytes);
    const { device, keepOpen } = this.#options;
    const pipeline = new Pipeline(components, {
      device,
      compute: computeDtypeFor(device),
      keepOpen,
    });
    const loaded = { pipeline, fingerprint: await fingerprintWeights(components), bytes };
    this.#loaded.set(key, loaded);
    return { ...loaded, fresh: true, evicted };
  }

  async #makeRoom(bytes: number): Promise<boolean> {
    let used = 0;
    for (const loaded of this.#loaded.values()) used += loaded.bytes;
    let evicted = false;
    for (const [key, loaded] of this.#loaded) {
      if (used + bytes <= this.#options.memoryBudget) break;
      this.#loaded.delete(key);
      used -= loaded.bytes;
      evicted = true;
      await loaded.pipeline.release();
    }
    return evicted;
  }
}
