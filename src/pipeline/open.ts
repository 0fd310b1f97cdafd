import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { z } from "zod";
import type { ModelOptions, Quantize } from "../config/model-options.ts";
import {
  contradict,
  modelOptionsSchema,
  quantizeKinds,
  storageOf,
} from "../config/model-options.ts";
import { parseCacheFolder, parseStoreSettings } from "../config/settings.ts";
import { InputError } from "../errors.ts";
import type { GenerateInput, GenerateRequest } from "../job/request.ts";
import { generateRequestSchema } from "../job/request.ts";
import type { Rounding } from "../job/rounding.ts";
import { roundingSchema } from "../job/rounding.ts";
import type { ModelDefinition } from "../models/registry.ts";
import { modelById } from "../models/registry.ts";
import { chooseDevice } from "../onnx/choose-device.ts";
import { cpuTarget, targetFor } from "../onnx/target.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { DeriveOptions } from "../weights/derived-file.ts";
import { roundComponents, roundedOutline } from "./as-trained.ts";
import type { StorageChoice } from "./choose-storage.ts";
import { openComponents, openTransformer } from "./components.ts";
import { estimateSeconds } from "./estimate.ts";
import type { WeightsFingerprint } from "./fingerprint.ts";
import {
  fingerprintWeights,
  sourcesIdentity,
  weightBytes,
  weightsIdentity,
} from "./fingerprint.ts";
import type { Generated, GenerateOptions } from "./generate.ts";
import { generate } from "./generate.ts";
import { holdWeights } from "./hold-weights.ts";
import type { Effective } from "./parameters.ts";
import { Pipeline } from "./pipeline.ts";
import { placeModel } from "./place-model.ts";
import { findTrainingAdapter } from "./training-adapter.ts";

/** What `openPipeline` takes; only the model has to be said. */
export interface OpenOptions extends Partial<ModelOptions>, DeriveOptions {
  /** `zimage_deturbo`, `zimage_turbo` or `zimage`. */
  readonly model: string;
  /** A `.safetensors` or `.gguf` file to take the transformer from, in place of the store's. */
  readonly transformer?: string;
  /** The older name of `storage`: `int8`, or `none` for `original`. */
  readonly quantize?: Quantize;
  /** Rounds the weights as a quantised training did, before they are held in another storage. */
  readonly asTrained?: Rounding;
  /** Told how weights are held, before any is loaded or made into anything. */
  readonly onStorage?: (choice: StorageChoice) => void;
  /** Why `device` was taken, for results, where not Retake but the caller chose it. */
  readonly deviceReason?: string | null;
}

/** One model, ready to draw. Dispose of it to free its memory (`await using`). */
export interface OpenPipeline extends AsyncDisposable {
  /** Bytes of all its weights, as they are held. */
  readonly weightBytes: number;
  /** How the transformer's weights are held, and why. */
  readonly storage: StorageChoice;
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
  /** About how long the steps of what `onDecided` tells take, in seconds; null for a short run. */
  estimateSeconds(effective: Effective): Promise<number | null>;
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
  const { model, transformer, asTrained, quantize, signal, onStart, onStorage, ...given } = options;
  const { deviceReason, ...rest } = given;
  const older = z.enum(quantizeKinds).optional().safeParse(quantize);
  if (!older.success) throw unusable(older.error, "quantize");
  if (contradict({ storage: rest.storage, quantize })) {
    throw new InputError(
      `storage is ${rest.storage}, and its older name quantize is ${quantize}: leave the older one away.`,
    );
  }
  const parsed = modelOptionsSchema.safeParse({
    weights: "demo",
    cacheFolder: rest.cacheFolder ?? parseCacheFolder(process.env),
    device: "auto",
    keepOpen: true,
    ...rest,
    storage: storageOf({ storage: rest.storage, quantize }),
  });
  if (!parsed.success) throw unusable(parsed.error);
  const { storage: asked, cacheFolder, keepOpen } = parsed.data;
  const rounding = roundingSchema.optional().safeParse(asTrained);
  if (!rounding.success) throw unusable(rounding.error, "asTrained");
  const weights =
    parsed.data.weights === "hub"
      ? parseStoreSettings({ ...process.env, RETAKE_WEIGHTS: "hub" }).weights
      : parsed.data.weights;
  const named = await chooseDevice(parsed.data.device);
  const definition = modelById(model);
  // Before they are opened: a change meanwhile is seen later.
  const sourcesNow = () => sourcesIdentity(weights, definition, transformer);
  const openedSources = await sourcesNow();
  const deriving = {
    cacheFolder,
    ...(signal === undefined ? {} : { signal }),
    ...(onStart === undefined ? {} : { onStart }),
  };
  const own = { ...deriving, ...(transformer === undefined ? {} : { transformer }) };
  const outlined = await openComponents(weights, definition, { ...own, outline: true });
  const outline = asTrained === undefined ? outlined : roundedOutline(outlined, asTrained);
  const { chosen, device, storage } = await placeModel(outline, asked, keepOpen, {
    ...named,
    reason: deviceReason ?? named.reason,
  });
  onStorage?.(storage);
  const target = await targetFor(chosen.device);
  // Only now is anything made: a refusal costs no minutes.
  const opened =
    transformer === undefined
      ? outlined
      : { ...outlined, transformer: await openTransformer(weights, definition, own) };
  const rounded =
    asTrained === undefined
      ? opened
      : await roundComponents(opened, adapterStores(weights), asTrained, deriving);
  const components = await holdWeights(rounded, storage.storage, device, deriving);
  const openedWeights = await weightsIdentity(components);
  const pipeline = new Pipeline(components, {
    target,
    textTarget: storage.textOnDevice ? target : cpuTarget,
    device: {
      name: chosen.device,
      // Whoever gets a picture need not know of its maker's processor.
      adapter: chosen.device === "cpu" ? null : chosen.facts.name,
      reason: chosen.reason,
    },
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
    storage,
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
    estimateSeconds: (effective) => estimateSeconds(components, effective, pipeline.target),
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
