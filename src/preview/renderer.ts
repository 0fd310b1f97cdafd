import type { ModelOptions } from "../config/model-options.ts";
import type { GenerateInput } from "../job/request.ts";
import type { Rounding } from "../job/rounding.ts";
import type { WeightsFingerprint } from "../pipeline/fingerprint.ts";
import type { Generated, GenerateOptions } from "../pipeline/generate.ts";
import type { OpenOptions, OpenPipeline } from "../pipeline/open.ts";
import { openPipeline } from "../pipeline/open.ts";

export interface RendererOptions extends Omit<ModelOptions, "keepOpen"> {
  /** Files to take transformers from, by model id. */
  readonly transformers: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** Told when files are made that the weights' rounding needs, this once only. */
  readonly onStart?: NonNullable<OpenOptions["onStart"]>;
  /** Told how weights are held, each time before they are loaded. */
  readonly onStorage?: NonNullable<OpenOptions["onStorage"]>;
}

/** Draws pictures of any model, its weights rounded or not. Dispose of it to free their memory. */
export interface Renderer extends AsyncDisposable {
  /**
   * @throws InputError if the request, a LoRA or the weights can't be used
   * @throws CanceledError after the signal of the renderer or of the options
   */
  render(
    model: string,
    rounding: Rounding | null,
    request: GenerateInput,
    options?: GenerateOptions,
  ): Promise<Generated>;
  /** Which weights it draws with: another picture may come of others. */
  fingerprint(model: string, rounding: Rounding | null): Promise<WeightsFingerprint>;
}

/** A picture's rounded and unrounded weights are compared with each other, and two base models. */
const mostOpen = 2;

/** Models are opened when they are first asked for, and the last ones stay open. */
export function openRenderer({
  signal,
  onStart,
  onStorage,
  transformers,
  ...rest
}: RendererOptions): Renderer {
  /** By model and rounding, the one unused for longest first. */
  const open = new Map<string, OpenPipeline>();

  const pipelineOf = async (model: string, rounding: Rounding | null): Promise<OpenPipeline> => {
    const key = JSON.stringify([model, rounding]);
    const known = open.get(key);
    open.delete(key);
    if (known !== undefined) {
      open.set(key, known);
      return known;
    }
    for (const [oldest, pipeline] of open) {
      if (open.size < mostOpen) break;
      open.delete(oldest);
      await pipeline[Symbol.asyncDispose]();
    }
    const file = Object.hasOwn(transformers, model) ? transformers[model] : undefined;
    const pipeline = await openPipeline({
      ...rest,
      model,
      keepOpen: true,
      ...(rounding === null ? {} : { asTrained: rounding }),
      ...(file === undefined ? {} : { transformer: file }),
      ...(signal === undefined ? {} : { signal }),
      ...(onStart === undefined ? {} : { onStart }),
      ...(onStorage === undefined ? {} : { onStorage }),
    });
    open.set(key, pipeline);
    return pipeline;
  };

  return {
    async render(model, rounding, request, options = {}) {
      const pipeline = await pipelineOf(model, rounding);
      return pipeline.generate(request, signal === undefined ? options : { signal, ...options });
    },
    async fingerprint(model, rounding) {
      return (await pipelineOf(model, rounding)).fingerprint();
    },
    async [Symbol.asyncDispose]() {
      for (const pipeline of open.values()) await pipeline[Symbol.asyncDispose]();
      open.clear();
    },
  };
}
