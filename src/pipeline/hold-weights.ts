import type { WeightSpan } from "../onnx/graph.ts";
import type { TransformerConfig } from "../transformer/config.ts";
import { vaeWeights } from "../vae/config.ts";
import type { Cast } from "../weights/cast-weights.ts";
import { castWeights, filesOf } from "../weights/cast-weights.ts";
import type { DeriveOptions } from "../weights/derived-file.ts";
import { quantizeInt8 } from "../weights/quantize-int8.ts";
import type { Component, Components } from "./components.ts";
import { withWeights } from "./components.ts";
import type { HeldStorage, StorageDevice } from "./weight-forms.ts";
import { reads, weightForms } from "./weight-forms.ts";

/**
 * A model with its transformer in a storage, and on a device without bf16 its VAE in f32. What a
 * storage changes is written once to the cache.
 *
 * @param storage one that the device can take: see `chooseStorage`
 * @throws InputError if a weight can't be held so, or the cache can't be written
 * @throws CanceledError after the signal
 */
export async function holdWeights(
  components: Components,
  storage: HeldStorage,
  device: StorageDevice,
  { cacheFolder, ...options }: DeriveOptions & { readonly cacheFolder: string },
): Promise<Components> {
  const { transformer: stored } = components;
  const transformer = await holdTransformer(stored, storage, device, { cacheFolder, options });
  const vae = reads(device, "BF16")
    ? components.vae
    : await holdVae(components.vae, cacheFolder, options);
  return { ...components, ...transformer, vae };
}

async function holdTransformer(
  part: Component<TransformerConfig>,
  storage: HeldStorage,
  device: StorageDevice,
  { cacheFolder, options }: { readonly cacheFolder: string; readonly options: DeriveOptions },
): Promise<Pick<Components, "transformer" | "held">> {
  const casts = new Map<string, Cast>();
  const narrow = new Map<string, WeightSpan>();
  for (const [name, form] of weightForms(part, storage, device)) {
    const span = part.weights.get(name)!;
    if (form === "int8") narrow.set(name, span);
    else if (form !== "stored") casts.set(name, { span, to: form });
    const scale = form === "int8" ? undefined : span.scale;
    if (scale !== undefined && !reads(device, scale.dtype))
      casts.set(scaleName(name), { span: scale, to: "F32" });
  }
  const cast = await castWeights(casts, cacheFolder, options);
  const files = filesOf([...narrow.values()]);
  const inBlocks = narrow.size === 0 ? [] : await quantizeInt8(narrow, files, cacheFolder, options);
  const weights = new Map(
    [...part.weights].map(([name, stored]) => {
      const span = cast.weights.get(name) ?? stored;
      const scale = cast.weights.get(scaleName(name));
      return [name, scale === undefined ? span : { ...span, scale }];
    }),
  );
  for (const [name, span] of inBlocks) weights.set(name, span);
  return {
    transformer: { ...withWeights(part, weights), quantization: quantizationOf(part, storage) },
    held: { storage, rounded: cast.rounded },
  };
}

/** No weight's own name holds it. */
function scaleName(weight: string): string {
  return `${weight}:scale`;
}

/** In the words of results: how the file had it, and what was made of it. */
function quantizationOf(
  { quantization }: Component<TransformerConfig>,
  storage: HeldStorage,
): string | null {
  if (storage !== "int8") return quantization;
  return quantization === null ? "int8" : `${quantization}, int8`;
}

async function holdVae(
  part: Components["vae"],
  cacheFolder: string,
  options: DeriveOptions,
): Promise<Components["vae"]> {
  const casts = new Map(
    [...vaeWeights(part.config).keys()].flatMap((name): [string, Cast][] => {
      const span = part.weights.get(name)!;
      return span.dtype === "F32" ? [] : [[name, { span, to: "F32" }]];
    }),
  );
  const { weights } = await castWeights(casts, cacheFolder, options);
  return withWeights(part, new Map([...part.weights, ...weights]));
}
