import { bufferBytes } from "../onnx/buffer-size.ts";
import type { TransformerConfig } from "../transformer/config.ts";
import { patchSize } from "../transformer/config.ts";
import { adaptableModules, isEmbedder } from "../transformer/weight-shapes.ts";
import { vaeWeights } from "../vae/config.ts";
import type { ModelWeights } from "./components.ts";
import { bytesOf } from "./fingerprint.ts";
import { decodeBytes } from "./memory-need.ts";
import type { HeldStorage, StorageDevice } from "./weight-forms.ts";
import { formBytes, isLarge, reads, weightForms } from "./weight-forms.ts";

/** Bytes that a model needs on a device, by part; a picture of 1024x1024. */
export interface StorageNeed {
  /** Of the transformer's weights, and of its largest tensor, in each storage. */
  readonly transformer: Readonly<Record<HeldStorage, { bytes: number; largest: number }>>;
  /** Says of its file that it holds blocks, which stay; null: it does not. */
  readonly inBlocks: string | null;
  /** The device can read its matrices as they are stored. */
  readonly isReadable: boolean;
  /** The VAE's decoder, as it is held there. */
  readonly vae: number;
  /** The text encoder; null where the device can't read its weights as they are stored. */
  readonly textEncoder: number | null;
  /** A LoRA of rank 32. */
  readonly lora: number;
  /** What a step computes with. */
  readonly step: number;
  /** What the VAE computes with. */
  readonly decode: number;
  /** Networks stay there between pictures: the weights of all add up. */
  readonly keepOpen: boolean;
}

const heldStorages = ["original", "f32", "f16", "int8"] as const satisfies readonly HeldStorage[];
const side = 1024;
const loraRank = 32;
/** Heads whose scores are there at a time, and the copies of them. */
const heads = 5;
const scoreCopies = 2;
const captionTokens = 512;

export function storageNeed(
  { transformer, textEncoder, vae }: ModelWeights,
  device: StorageDevice,
  keepOpen: boolean,
): StorageNeed {
  const inStorage = (storage: HeldStorage) => {
    let [bytes, largest] = [0, 0];
    for (const [name, form] of weightForms(transformer, storage, device)) {
      const own = formBytes(transformer.weights.get(name)!, form);
      bytes += device.device === "webgpu" ? bufferBytes(own) : own;
      largest = Math.max(largest, own);
    }
    return { bytes, largest };
  };
  const { config, weights } = transformer;
  const text = [...textEncoder.weights.values()];
  const limit = device.maxBufferBytes ?? Number.POSITIVE_INFINITY;
  const textFits = text.every((span) => reads(device, span.dtype) && span.byteLength <= limit);
  const inBlocks = [...weights.values()].some(({ blocks }) => blocks !== undefined);
  return {
    transformer: Object.fromEntries(
      heldStorages.map((storage) => [storage, inStorage(storage)]),
    ) as StorageNeed["transformer"], // each of them
    inBlocks: inBlocks
      ? `${transformer.fileName} is quantised already (${transformer.quantization})`
      : null,
    isReadable: [...weights].every(
      ([name, span]) => !isLarge(name, span) || reads(device, span.dtype),
    ),
    vae: [...vaeWeights(vae.config).keys()].reduce((sum, name) => {
      const span = vae.weights.get(name)!;
      return sum + formBytes(span, reads(device, "BF16") ? "stored" : "F32");
    }, 0),
    textEncoder: textFits ? text.reduce((sum, span) => sum + bytesOf(span), 0) : null,
    lora: loraBytes(config),
    step: stepBytes(config, vae.config.scaleFactor),
    decode: decodeBytes(vae.config, device.device),
    keepOpen,
  };
}

/** In f32, on every matrix of the blocks. */
function loraBytes(config: TransformerConfig): number {
  let values = 0;
  for (const [name, { inDim, outDim }] of adaptableModules(config))
    if (inDim !== null && !isEmbedder(name)) values += loraRank * (inDim + outDim);
  return 4 * values;
}

/** Activations of a block, in f32: six of the model's width, three of the inner layer's, and scores. */
function stepBytes({ dim, hiddenDim }: TransformerConfig, scaleFactor: number): number {
  const tokens = (side / scaleFactor / patchSize) ** 2 + captionTokens;
  return 4 * tokens * (6 * dim + 3 * hiddenDim) + 4 * scoreCopies * heads * tokens ** 2;
}
