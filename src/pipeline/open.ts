import { existsSync } from "node:fs";
import { resolve } from "node:path";
import type { z } from "zod";
import type { ModelOptions } from "../config/model-options.ts";
import { modelOptionsSchema } from "../config/model-options.ts";
import { parseCacheFolder, parseStoreSettings } from "../config/settings.ts";
import { InputError } from "../errors.ts";
import type { GenerateInput, GenerateRequest } from "../job/request.ts";
import { generateRequestSchema } from "../job/request.ts";
import type { Rounding } from "../job/rounding.ts";
import { roundingSchema } from "../job/rounding.ts";
import type { ModelDefinition } from "../models/registry.ts";
import { modelById } from "../models/registry.ts";
import { providerFor } from "../onnx/device.ts";
import { cpuTarget, targetFor } from "../onnx/target.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { DeriveOptions } from "../weights/derived-file.ts";
import { roundComponents } from "./as-trained.ts";
import { openComponents } from "./components.ts";
import type { WeightsFingerprint } from "./fingerprint.ts";
import {
  fingerprintWeights,
  sourcesIdentity,
  weightBytes,
  weightsIdentity,
} from "./fingerprint.ts";
import type { Generated, GenerateOptions } from "./generate.ts";
import { generate } from "./generate.ts";
import { Pipeline } from "./pipeline.ts";
import { findTrainingAdapter } from "./training-adapter.ts";

/** What `openPipeline` takes; only the model has to be said. */
export interface OpenOptions extends Partial<ModelOptions>, DeriveOptions {
  /** `zimage_deturbo`, `zimage_turbo` or `zimage`. */
  readonly model: string;
  /** A `.safetensors` or `.gguf` file to take the transformer from, in place of the store's. */
  readonly transformer?: string;
  /** Rounds the weights as a quantised training did; not together with `quantize`. */
  readonly asTrained?: Rounding;
}

/** One model, ready to draw. Dispose of it to free its memory (`await using`). */
export interface OpenPipeline extends AsyncDisposable {
  /** Bytes of all its weights, as stored. */
  readonly weightBytes: number;
  /** Which weights it runs. */
  fingerprint(): Promise<WeightsFingerprint>;
  /** Whether the files are still the ones that were opened; none is read for it. */
  isCurrent(): Promise<boolean>;
  /**
   * Makes one picture. Requests made at once wait for each other.
   *
   * @throws InputError if a field, a LoRA or the weights can't be used
   * @throws CanceledError after the signal
   */
  generate(request: GenerateInput, options?: GenerateOptions): Promise<Generated>;
  /** Latents [1, channels, h, w] to a picture [3, H, W] in [0, 1]; for use inside of `onStep`. */
  decode(latents: Tensor): Promise<Tensor>;
}

/**
 * Finds a model's files and checks every header, shape and span. Networks are opened by the first
 * picture.
 *
 * @throws InputError naming the option or the file that can't be used
 */
export async function openPipeline(options: OpenOptions): Promise<OpenPipeline> {
  const { model, transformer, asTrained, signal, onStart, ...rest } = options;
  const parsed = modelOptionsSchema.safeParse({
    weights: "demo",
    quantize: "none",
    cacheFolder: rest.cacheFolder ?? parseCacheFolder(process.env),
    device: "cpu",
    keepOpen: true,
    ...rest,
  });
  if (!parsed.success) throw unusable(parsed.error);
  const { quantize, cacheFolder, device, keepOpen } = parsed.data;
  const rounding = roundingSchema.optional().safeParse(asTrained);
  if (!rounding.success) throw unusable(rounding.error, "asTrained");
  const weights =
    parsed.data.weights === "hub"
      ? parseStoreSettings({ ...process.env, RETAKE_WEIGHTS: "hub" }).weights
      : parsed.data.weights;
  providerFor(device);
  const definition = modelById(model);
  // Before they are opened: a change meanwhile is seen later.
  const sourcesNow = () => sourcesIdentity(weights, definition, transformer);
  const openedSources = await sourcesNow();
  if (asTrained !== undefined && quantize !== "none") {
    throw new InputError(
      `asTrained: the weights can't be rounded as in training and to ${quantize} too. Leave quantize (RETAKE_QUANTIZE) or asTrained away.`,
    );
  }
  const deriving = {
    cacheFolder,
    ...(signal === undefined ? {} : { signal }),
    ...(onStart === undefined ? {} : { onStart }),
  };
  const opened = await openComponents(weights, definition, {
    ...deriving,
    ...(quantize === "none" ? {} : { quantize }),
    ...(transformer === undefined ? {} : { transformer }),
  });
  const components =
    asTrained === undefined
      ? opened
      : await roundComponents(opened, adapterStores(weights), asTrained, deriving);
  const openedWeights = await weightsIdentity(components);
  const target = await targetFor(device);
  const pipeline = new Pipeline(components, {
    target,
    // Once a prompt: its weights, a third of the transformer's, need not lie on a device beside those.
    textTarget: device === "cuda" ? target : cpuTarget,
    keepOpen,
  });
  let disposed = false;
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <Result>(work: () => Promise<Result>): Promise<Result> => {
    const mine = last.then(work, work);
    last = mine;
    return mine;
  };
  return {
    weightBytes: weightBytes(components),
    fingerprint: () => fingerprintWeights(components),
    isCurrent: async () => {
      try {
        if ((await sourcesNow()) !== openedSources) return false;
        return (await weightsIdentity(components)) === openedWeights;
      } catch {
        // Something is gone: opening again says what.
        return false;
      }
    },
    generate: (request, generateOptions = {}) => {
      return inTurn(async () => {
        if (disposed) throw new InputError("The pipeline was disposed of: open another one.");
        const asked = generateRequestSchema.safeParse(request);
        if (!asked.success) throw unusable(asked.error);
        const loras = await withAdapterFiles(asked.data.loras, adapterStores(weights), definition);
        return generate(pipeline, { ...asked.data, loras }, generateOptions);
      });
    },
    decode: (latents) => pipeline.decode(latents),
    [Symbol.asyncDispose]: () => {
      disposed = true;
      return inTurn(() => pipeline.release());
    },
  };
}

/** The model store, a folder `hub` beside it, and this machine's hub cache, as far as they are there. */
function adapterStores(weights: string): string[] {
  if (weights === "demo") return [weights];
  const cache = parseStoreSettings({ ...process.env, RETAKE_WEIGHTS: "hub" }).weights;
  const others = [resolve(weights, "../hub"), cache];
  return [weights, ...others.filter((folder) => existsSync(folder) && folder !== weights)];
}

function unusable({ issues }: z.ZodError, ...within: string[]): InputError {
  return new InputError(
    issues
      .map(({ path: inner, message }) => {
        const path = [...within, ...inner];
        return `${path.length === 0 ? "" : `${path.join(".")}: `}${message}.`;
      })
      .join(" "),
  );
}

/** A model's own training adapter goes by its name: `owner/name/file.safetensors` of the model store. */
function withAdapterFiles(
  loras: GenerateRequest["loras"],
  stores: readonly string[],
  { id, trainingAdapter }: ModelDefinition,
): Promise<GenerateRequest["loras"]> {
  const names = (trainingAdapter?.files ?? []).map(
    (file) => `${trainingAdapter!.repository}/${file}`,
  );
  return Promise.all(
    loras.map(async (lora) =>
      names.includes(lora.path)
        ? { ...lora, path: await findTrainingAdapter(stores, lora.path, id) }
        : lora,
    ),
  );
}
