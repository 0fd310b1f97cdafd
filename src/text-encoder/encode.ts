import { InputError } from "../errors.ts";
import type { WeightLookup } from "../onnx/graph.ts";
import { openSession } from "../onnx/session.ts";
import type { Target } from "../onnx/target.ts";
import { cpuTarget } from "../onnx/target.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { TextEncoderConfig } from "./config.ts";
import { buildEmbeddings, buildTextEncoder } from "./graph.ts";

const { fround } = Math;

/** What hides a token: low enough for an exact 0 after softmax. */
const hidden = -1e30;

export interface TextEncoder {
  /** Token ids [length] to prompt embeds [length, hiddenSize]. */
  encode(inputIds: readonly number[]): Promise<Tensor>;
  release(): Promise<void>;
}

/** Loads the text encoder. Release it: it holds native memory. */
export async function openTextEncoder(
  config: TextEncoderConfig,
  lookup: WeightLookup,
  target: Target,
): Promise<TextEncoder> {
  // One session alone has them, so it may as well own them.
  const own: Target = { ...target, weights: "mapped" };
  const embeddings = await openSession(buildEmbeddings(config, lookup), cpuTarget);
  const layers = await openSession(buildTextEncoder(config, lookup, own), own).catch(
    async (error: unknown) => {
      await embeddings.release();
      throw error;
    },
  );
  return {
    async encode(inputIds) {
      const unknown = inputIds.find((id) => id >= config.vocabularySize);
      if (unknown !== undefined) {
        throw new InputError(
          `the tokenizer gives token ${unknown}, and the text encoder knows ${config.vocabularySize}: ` +
            "tokenizer/ and text_encoder/ are not of one model. Fetch the repository again.",
        );
      }
      const length = inputIds.length;
      const { embeds } = await embeddings.run({
        input_ids: { data: BigInt64Array.from(inputIds, BigInt), shape: [length] },
      });
      const { prompt_embeds } = await layers.run({
        embeds: embeds!,
        ...ropeTables(config, length),
        mask: causalMask(length),
      });
      return prompt_embeds!;
    },
    async release() {
      await layers.release();
      await embeddings.release();
    },
  };
}

/** Angles in f32, as transformers' `Qwen3RotaryEmbedding` computes them; both halves of a row are equal. */
function ropeTables(
  { headDim, ropeTheta }: TextEncoderConfig,
  length: number,
): { cos: Tensor; sin: Tensor } {
  const half = headDim / 2;
  const cos = new Float32Array(length * headDim);
  const sin = new Float32Array(length * headDim);
  for (let j = 0; j < half; j++) {
    const frequency = fround(1 / fround(ropeTheta ** fround((2 * j) / headDim)));
    for (let position = 0; position < length; position++) {
      const angle = fround(position * frequency);
      const at = position * headDim + j;
      cos[at] = cos[at + half] = Math.cos(angle);
      sin[at] = sin[at + half] = Math.sin(angle);
    }
  }
  const shape = [length, headDim];
  return { cos: { data: cos, shape }, sin: { data: sin, shape } };
}

function causalMask(length: number): Tensor {
  const data = new Float32Array(length * length);
  for (let row = 0; row < length; row++)
    data.fill(hidden, row * length + row + 1, (row + 1) * length);
  return { data, shape: [length, length] };
}
