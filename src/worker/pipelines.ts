import type { ModelOptions } from "../config/model-options.ts";
import type { Rounding } from "../job/rounding.ts";
import type { WeightsFingerprint } from "../pipeline/fingerprint.ts";
import type { OpenPipeline } from "../pipeline/open.ts";
import { openPipeline } from "../pipeline/open.ts";

export interface PipelinesOptions extends ModelOptions {
  /** Why the device was taken, for results; null: it was named. */
  readonly deviceReason: string | null;
  /** Files to take transformers from, by model id. */
  readonly transformers: Readonly<Record<string, string>>;
  /** Bytes of weights that may be loaded together; the newest pipeline may exceed it alone. */
  readonly memoryBudget: number;
  /** A line for the operator. */
  readonly log: (fields: Record<string, string | number | null>, message: string) => void;
}

interface Loaded {
  readonly pipeline: OpenPipeline;
  readonly fingerprint: WeightsFingerprint;
}

/** Pipelines that stay loaded between jobs, the one unused for longest out first. */
export class Pipelines {
  readonly #options: PipelinesOptions;
  /** By model, rounding and storage, oldest use first. */
  readonly #loaded = new Map<string, Loaded>();

  constructor(options: PipelinesOptions) {
    this.#options = options;
  }

  /**
   * @param rounding as in training; null: none
   * @param unrounded never in 8 bits because the operator wants requests for pictures so
   * @returns `fresh` if it had to be loaded
   * @throws InputError if weights are missing or wrong
   */
  async get(
    model: string,
    rounding: Rounding | null,
    signal?: AbortSignal,
    { unrounded = false } = {},
  ): Promise<Loaded & { readonly fresh: boolean; readonly evicted: boolean }> {
    // A device that has no room for others still takes them.
    const storage = unrounded && this.#options.storage === "int8" ? "auto" : this.#options.storage;
    const key = JSON.stringify([model, rounding, storage]);
    const known = this.#loaded.get(key);
    this.#loaded.delete(key);
    const current = known !== undefined && (await known.pipeline.isCurrent());
    if (current) {
      this.#loaded.set(key, known);
      return { ...known, fresh: false, evicted: false };
    }
    // Its files were exchanged on disk: nothing asks for the old ones any more.
    await known?.pipeline[Symbol.asyncDispose]();
    const { transformers, memoryBudget: _, log, ...options } = this.#options;
    const file = Object.hasOwn(transformers, model) ? transformers[model] : undefined;
    const pipeline = await openPipeline({
      ...options,
      model,
      storage,
      onStart: ({ bytes }) =>
        void log({ model, bytes }, "a copy of the weights is made, this once only"),
      onStorage: (choice) =>
        log(
          { model, storage: choice.storage, reason: choice.reason, needs_bytes: choice.needBytes },
          "a model's weights are opened",
        ),
      ...(rounding === null ? {} : { asTrained: rounding }),
      ...(signal === undefined ? {} : { signal }),
      ...(file === undefined ? {} : { transformer: file }),
    });
    const evicted = await this.#makeRoom(pipeline.weightBytes);
    const loaded = { pipeline, fingerprint: await pipeline.fingerprint() };
    this.#loaded.set(key, loaded);
    return { ...loaded, fresh: true, evicted: evicted || known !== undefined };
  }

  async #makeRoom(bytes: number): Promise<boolean> {
    let used = 0;
    for (const { pipeline } of this.#loaded.values()) used += pipeline.weightBytes;
    let evicted = false;
    for (const [key, { pipeline }] of this.#loaded) {
      if (used + bytes <= this.#options.memoryBudget) break;
      this.#loaded.delete(key);
      used -= pipeline.weightBytes;
      evicted = true;
      await pipeline[Symbol.asyncDispose]();
    }
    return evicted;
  }
}
