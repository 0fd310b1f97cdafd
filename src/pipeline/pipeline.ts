import { LRUCache } from "lru-cache";
import { loraIdentity } from "../lora/places.ts";
import type { Target } from "../onnx/target.ts";
import { stopPoint } from "../stop-point.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { TextEncoder } from "../text-encoder/encode.ts";
import { openTextEncoder } from "../text-encoder/encode.ts";
import { Transformer } from "../transformer/transformer.ts";
import type { MergedDelta, RowNorms } from "../transformer/weight-norms.ts";
import { rowNorms } from "../transformer/weight-norms.ts";
import type { VaeDecoder } from "../vae/decode.ts";
import { openVaeDecoder } from "../vae/decode.ts";
import type { EffectiveAnswer } from "../wire/answers.ts";
import type { Components } from "./components.ts";
import type { ActiveLora } from "./compose-adapters.ts";
import { requireFinite } from "./finite.ts";
import type { LoadedLora, LoadedModule } from "./loaded-lora.ts";
import { bytesOf, openLora } from "./loaded-lora.ts";
import { withMergedLengths } from "./merged-lengths.ts";

/** What computed a picture, as results say it. */
export type UsedDevice = NonNullable<EffectiveAnswer["device"]>;

export interface PipelineOptions {
  /** Of the transformer and the VAE. */
  readonly target: Target;
  /** Of the text encoder. */
  readonly textTarget: Target;
  /** For results; without it, the target's name alone. */
  readonly device?: UsedDevice;
  /** Networks stay open between requests; otherwise each is open only while it works. */
  readonly keepOpen: boolean;
}

/** The real model's prompt embeds of 512 tokens are 5 MB: room for about 50 of them. */
const embedsCacheBytes = 256 * 2 ** 20;

/** A LoRA of rank 32 on the real model is 340 MB in f32. */
const loraCacheBytes = 2 * 2 ** 30;

/**
 * One model's networks, opened when they are first used. Without `keepOpen` each is open only while
 * it works, so no two need memory at the same time; a preview of a step alone opens the VAE beside
 * the transformer, which is 70 times as large, rather than close and open that for each. Not for two
 * requests at once.
 */
export class Pipeline {
  readonly components: Components;
  readonly target: Target;
  readonly device: UsedDevice;
  readonly #textEncoder: Opened<TextEncoder>;
  readonly #transformer: Opened<Transformer>;
  readonly #decoder: Opened<VaeDecoder>;
  readonly #embeds: LRUCache<string, Tensor> | undefined;
  /** Of the last request, by what their files held. */
  readonly #loras = new Map<string, LoadedLora>();
  readonly #earlierLoras: LRUCache<string, LoadedLora> | undefined;
  /** Merged into the rounded transformer. */
  #adapter: LoadedLora | undefined;
  /** Of a DoRA's module, beside the LoRAs that it last stood behind. */
  readonly #mergedNorms = new WeakMap<
    LoadedModule,
    { readonly merged: readonly MergedDelta[]; readonly norms: RowNorms }
  >();

  constructor(components: Components, { target, textTarget, device, keepOpen }: PipelineOptions) {
    const { textEncoder, transformer, vae } = components;
    this.components = components;
    this.target = target;
    this.device = device ?? { name: target.device, adapter: null, reason: null };
    this.#textEncoder = new Opened(keepOpen, () =>
      openTextEncoder(textEncoder.config, textEncoder.lookup, textTarget),
    );
    this.#transformer = new Opened(
      keepOpen,
      async () => new Transformer(transformer.config, transformer.lookup, target),
    );
    this.#decoder = new Opened(keepOpen, () => openVaeDecoder(vae.config, vae.lookup, target));
    this.#embeds = keepOpen
      ? new LRUCache({ maxSize: embedsCacheBytes, sizeCalculation: ({ data }) => data.byteLength })
      : undefined;
    this.#earlierLoras = keepOpen
      ? new LRUCache({
          maxSize: loraCacheBytes,
          sizeCalculation: (lora) => Math.max(1, bytesOf(lora)),
        })
      : undefined;
  }

  /**
   * A request's LoRAs. They stay in memory for the next request, those of earlier ones with
   * `keepOpen` alone.
   *
   * @returns `cached` if all were in memory already
   * @throws InputError if a file can't be used with this model
   * @throws CanceledError at a module after the signal
   */
  async openLoras(
    paths: readonly string[],
    signal?: AbortSignal,
  ): Promise<{ loras: LoadedLora[]; cached: boolean }> {
    const identities = await Promise.all(paths.map(loraIdentity));
    // What this request doesn't use goes before others come.
    for (const identity of this.#loras.keys())
      if (!identities.includes(identity)) this.#loras.delete(identity);
    const loras: LoadedLora[] = [];
    let cached = true;
    for (const [i, identity] of identities.entries()) {
      let lora = this.#loras.get(identity) ?? this.#earlierLoras?.get(identity);
      if (lora === undefined) {
        cached = false;
        lora = await openLora(this.components, paths[i]!, signal);
      }
      this.#loras.set(identity, lora);
      this.#earlierLoras?.set(identity, lora);
      loras.push(lora);
    }
    return { loras, cached };
  }

  /** LoRAs with the lengths that DoRAs have beside those before them; kept while their files are. */
  async measured(loras: readonly ActiveLora[], signal?: AbortSignal): Promise<ActiveLora[]> {
    return withMergedLengths(loras, async (name, module, merged) => {
      await stopPoint(signal);
      const known = this.#mergedNorms.get(module);
      const isSame = known?.merged.every(
        ({ delta, factor }, i) => merged[i]?.delta === delta && merged[i].factor === factor,
      );
      if (known !== undefined && isSame && known.merged.length === merged.length)
        return known.norms;
      const { lookup } = this.components.transformer;
      const norms = await rowNorms(lookup, name, module.delta!, merged);
      this.#mergedNorms.set(module, { merged, norms });
      return norms;
    });
  }

  /**
   * What takes the training adapter off again that the rounded transformer holds, as the trainer
   * does for its previews; nothing where there is none.
   *
   * @throws InputError if its file can't be used any more
   * @throws CanceledError at a module after the signal
   */
  async trainingAdapter(signal?: AbortSignal): Promise<ActiveLora[]> {
    const file = this.components.asTrained?.adapter ?? null;
    if (file === null) return [];
    this.#adapter ??= await openLora(this.components, file, signal);
    return [{ lora: this.#adapter, multiplier: -1 }];
  }

  /** Prompt embeds [length, captionDim] for each text's token ids. @throws CanceledError between two of them */
  async encode(texts: readonly (readonly number[])[], signal?: AbortSignal): Promise<Tensor[]> {
    const cached = texts.map((ids) => this.#embeds?.get(ids.join()));
    if (cached.every((embeds) => embeds !== undefined)) return cached;
    return this.#textEncoder.use(async (encoder) => {
      const all: Tensor[] = [];
      for (const [i, inputIds] of texts.entries()) {
        await stopPoint(signal);
        const embeds = cached[i] ?? (await encoder.encode(inputIds));
        await requireFinite("the prompt embeds", embeds, this.components.textEncoder);
        this.#embeds?.set(inputIds.join(), embeds);
        all.push(embeds);
      }
      return all;
    });
  }

  async withTransformer<Result>(work: (transformer: Transformer) => Promise<Result>) {
    return this.#transformer.use(work);
  }

  /** Latents [1, channels, h, w] to a picture [3, H, W] in [0, 1], before rounding. */
  async decode(latents: Tensor): Promise<Tensor> {
    const image = await this.#decoder.use((decoder) => decoder.decode(latents));
    await requireFinite("the picture", image, this.components.vae);
    return image;
  }

  async release(): Promise<void> {
    this.#embeds?.clear();
    this.#loras.clear();
    this.#earlierLoras?.clear();
    this.#adapter = undefined;
    for (const part of [this.#textEncoder, this.#transformer, this.#decoder]) await part.release();
  }
}

/** A network that is open while it is used, or from its first use until it is released. */
class Opened<Part extends { release(): Promise<void> }> {
  readonly #keep: boolean;
  readonly #open: () => Promise<Part>;
  #part: Part | undefined;

  constructor(keep: boolean, open: () => Promise<Part>) {
    this.#keep = keep;
    this.#open = open;
  }

  async use<Result>(work: (part: Part) => Promise<Result>): Promise<Result> {
    this.#part ??= await this.#open();
    try {
      return await work(this.#part);
    } finally {
      if (!this.#keep) await this.release();
    }
  }

  async release(): Promise<void> {
    const part = this.#part;
    this.#part = undefined;
    await part?.release();
  }
}
