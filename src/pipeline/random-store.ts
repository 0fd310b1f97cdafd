import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { writeAt, writeFolderWhole, writeNew } from "../files/whole.ts";
import { modelById } from "../models/registry.ts";
import { demoWeights } from "../paths.ts";
import { stopPoint } from "../stop-point.ts";
import { dtypeBytes, narrowTo, roundToDtype } from "../tensor/dtype.ts";
import { sizeOf } from "../tensor/tensor.ts";
import { encodeHeader } from "../weights/write-safetensors.ts";
import type { Part } from "./components.ts";
import { parts } from "./components.ts";

/** Blocks of the real transformer, beside two that refine the noise and two that refine the caption. */
export const realLayers = 30;
const refinerLayers = 2;

/** Blocks that a step computes: those that refine the noise, and the layers. */
export function realBlocks(layers: number): number {
  return refinerLayers + layers;
}

/** Which model the store has: its own transformer, and everything else. */
export const randomStoreModel = "zimage_turbo";

/** The `config.json` of each part. */
export interface StoreShape {
  readonly transformer: object;
  readonly vae: object;
  readonly textEncoder: object;
}

/**
 * Of Tongyi-MAI/Z-Image-Turbo, as far as the computation depends on it, but for the number of the
 * transformer's layers and for the text encoder: that is a small one for the demonstration's tokenizer.
 */
export function realShape(layers: number): StoreShape {
  return {
    transformer: {
      _class_name: "ZImageTransformer2DModel",
      all_f_patch_size: [1],
      all_patch_size: [2],
      axes_dims: [32, 48, 48],
      axes_lens: [1536, 512, 512],
      cap_feat_dim: 2560,
      dim: 3840,
      in_channels: 16,
      n_heads: 30,
      n_kv_heads: 30,
      n_layers: layers,
      n_refiner_layers: refinerLayers,
      norm_eps: 1e-5,
      qk_norm: true,
      rope_theta: 256,
      t_scale: 1000,
    },
    vae: {
      _class_name: "AutoencoderKL",
      block_out_channels: [128, 256, 512, 512],
      layers_per_block: 2,
      latent_channels: 16,
      norm_num_groups: 32,
      scaling_factor: 0.3611,
      shift_factor: 0.1159,
      use_post_quant_conv: false,
      up_block_types: Array.from({ length: 4 }, () => "UpDecoderBlock2D"),
    },
    textEncoder: {
      model_type: "qwen3",
      hidden_size: 2560,
      num_hidden_layers: 2,
      intermediate_size: 256,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      head_dim: 64,
      rms_norm_eps: 1e-6,
      vocab_size: 384,
      hidden_act: "silu",
      rope_theta: 1_000_000,
    },
  };
}

interface RandomPart {
  readonly name: string;
  readonly stem: string;
  readonly config: object;
  readonly shapes: ReadonlyMap<string, readonly number[]>;
}

function randomParts(shape: StoreShape): RandomPart[] {
  const part = <Config>({ name, stem, parse, expected }: Part<Config>, config: object) => ({
    ...{ name, stem, config },
    shapes: expected(parse(config, `${name}/config.json`)),
  });
  return [
    part(parts.transformer, shape.transformer),
    part(parts.vae, shape.vae),
    part(parts.textEncoder, shape.textEncoder),
  ];
}

/** Bytes of the weights of such a store. */
export function randomStoreBytes(shape: StoreShape): number {
  return randomParts(shape)
    .flatMap(({ shapes }) => [...shapes.values()])
    .reduce((sum, weight) => sum + dtypeBytes.BF16 * sizeOf(weight), 0);
}

/**
 * Writes a model store of random weights in bf16, whole or not at all: to measure how fast a machine
 * is and how much fits, without the model. Its pictures are noise.
 *
 * @param onProgress told how many bytes are written
 * @throws CanceledError between two pieces after the signal; nothing is left then
 */
export async function writeRandomStore(
  folder: string,
  shape: StoreShape,
  { signal, onProgress }: { signal: AbortSignal; onProgress: (bytes: number) => void },
): Promise<void> {
  const { repository } = modelById(randomStoreModel);
  let written = 0;
  await writeFolderWhole(folder, async (temporary) => {
    const root = join(temporary, repository);
    for (const name of ["tokenizer", "scheduler"])
      await cp(join(demoWeights, repository, name), join(root, name), { recursive: true });
    for (const { name, stem, config, shapes } of randomParts(shape)) {
      await mkdir(join(root, name));
      await writeFile(join(root, name, "config.json"), JSON.stringify(config));
      const file = join(root, name, `${stem}.safetensors`);
      await writeRandomFile(file, shapes, signal, (bytes) => {
        written += bytes;
        onProgress(written);
      });
    }
  });
}

/** Values of one random sequence, from which all tensors are taken: none of them is looked at. */
const poolValues = 4 * 2 ** 20;

async function writeRandomFile(
  file: string,
  shapes: ReadonlyMap<string, readonly number[]>,
  signal: AbortSignal,
  onWritten: (bytes: number) => void,
): Promise<void> {
  const layout = new Map(
    [...shapes].map(([name, shape]) => [name, { dtype: "BF16" as const, shape }]),
  );
  const pools = new Map<string, Uint8Array>();
  await writeNew(file, async (handle) => {
    const header = encodeHeader(layout, { software: "random weights, to measure with" });
    await writeAt(handle, header, 0);
    let at = header.length;
    for (const [name, shape] of shapes) {
      const values = valuesOf(name, shape);
      const key = JSON.stringify(values);
      const pool = pools.get(key) ?? poolOf(values);
      pools.set(key, pool);
      for (let left = dtypeBytes.BF16 * sizeOf(shape); left > 0; ) {
        await stopPoint(signal);
        const piece = pool.subarray(0, Math.min(left, pool.length));
        await writeAt(handle, piece, at);
        onWritten(piece.length);
        at += piece.length;
        left -= piece.length;
      }
    }
  });
}

/** Around what mean and how widely a tensor's values lie: such that no layer's output grows or vanishes. */
function valuesOf(name: string, shape: readonly number[]): { mean: number; deviation: number } {
  if (name.endsWith(".bias")) return { mean: 0, deviation: 0 };
  if (shape.length === 1) return { mean: 1, deviation: 0 };
  return { mean: 0, deviation: sizeOf(shape.slice(1)) ** -0.5 };
}

function poolOf({ mean, deviation }: { mean: number; deviation: number }): Uint8Array {
  const width = 2 * Math.sqrt(3) * deviation;
  const values = Float32Array.from(
    { length: poolValues },
    () => mean + width * (Math.random() - 0.5),
  );
  roundToDtype(values, "BF16");
  return narrowTo(values, "BF16");
}
