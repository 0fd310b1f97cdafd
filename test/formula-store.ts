import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import type { Tensor } from "../src/tensor/tensor.ts";
import { parseTextEncoderConfig, textEncoderWeights } from "../src/text-encoder/config.ts";
import { parseTransformerConfig } from "../src/transformer/config.ts";
import { transformerWeights } from "../src/transformer/weight-shapes.ts";
import { parseVaeConfig, vaeWeights } from "../src/vae/config.ts";
import { goldenFolder } from "./golden.ts";
import type { RawTensor } from "./tensor-file.ts";
import { writeTensorFile } from "./tensor-file.ts";

// Models whose weights are formulas, the same as in reference/golden_shapes.py.

/** The configurations of a model's parts, as the Hub has them. */
export interface FormulaModel {
  readonly transformer: object;
  readonly text_encoder: object;
  readonly vae: object;
}

/** Integers of -most to most: hashes of a tensor's name and each value's place. */
export function codes(name: string, count: number, most: number): Int32Array {
  const seed = crc32(name);
  const found = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    let x = (i + seed) | 0;
    x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
    x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
    found[i] = (((x ^ (x >>> 16)) >>> 0) % (2 * most + 1)) - most;
  }
  return found;
}

/** An input: between -2 and 2. */
export function inputValues(name: string, shape: readonly number[]): Tensor {
  return { data: Float32Array.from(codes(name, sizeOf(shape), 127), (code) => code / 64), shape };
}

/**
 * Writes the model's store: Turbo's, in bf16, which holds these weights exactly, or in f32. The text
 * encoder, which no storage changes, is in f32 for every device.
 */
export function writeFormulaStore(store: string, model: FormulaModel, dtype: "BF16" | "F32"): void {
  const turbo = join("Tongyi-MAI", "Z-Image-Turbo");
  for (const same of ["model_index.json", "scheduler", "tokenizer"]) {
    cpSync(join(goldenFolder, "tiny", "store", turbo, same), join(store, turbo, same), {
      recursive: true,
    });
  }
  const parts = {
    transformer: transformerWeights(parseTransformerConfig(model.transformer, "transformer")),
    text_encoder: textEncoderWeights(parseTextEncoderConfig(model.text_encoder, "text_encoder")),
    vae: vaeWeights(parseVaeConfig(model.vae, "vae")),
  };
  for (const [part, shapes] of Object.entries(parts)) {
    const folder = join(store, turbo, part);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "config.json"), JSON.stringify(model[part as keyof typeof parts]));
    const stem = part === "text_encoder" ? "model" : "diffusion_pytorch_model";
    const tensors = [...shapes].map(
      ([name, shape]) =>
        [
          name,
          rawWeight(`${part}/${name}`, shape, part === "text_encoder" ? "F32" : dtype),
        ] as const,
    );
    writeTensorFile(join(folder, `${stem}.safetensors`), new Map(tensors));
  }
}

/** Norms near 1, small biases; matrices and kernels at about 1 / sqrt(fan in), with a code of 127 in each 32 values of a row. */
function rawWeight(name: string, shape: readonly number[], dtype: "BF16" | "F32"): RawTensor {
  const isVector = shape.length === 1;
  const integers = codes(name, sizeOf(shape), isVector ? 31 : 127);
  const fanIn = sizeOf(shape.slice(1));
  const step = isVector ? 1 / 128 : 2 ** -Math.round(Math.log2(75 * Math.sqrt(fanIn)));
  const middle = isVector && !name.endsWith("bias") ? 1 : 0;
  const values = new Float32Array(integers.length);
  for (const [i, code] of integers.entries()) {
    const atBlock = !isVector && (i % fanIn) % 32 === 0;
    values[i] = (atBlock ? (code < 0 ? -127 : 127) : code) * step + middle;
  }
  if (dtype === "F32") return { dtype, shape, bytes: new Uint8Array(values.buffer) };
  const bits = new Uint32Array(values.buffer);
  const halves = Uint16Array.from(bits, (word) => word >>> 16);
  return { dtype, shape, bytes: new Uint8Array(halves.buffer) };
}

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}
