import type { ScoreCuts } from "../onnx/attention.ts";
import type { Target } from "../onnx/target.ts";
import type { TransformerConfig } from "./config.ts";

/**
 * How many parts a graph computes in what grows fastest with the number of tokens: a tensor
 * is not larger than the device takes then. Part of the graph, as lengths are not.
 */
export interface Cuts extends ScoreCuts {
  /** Runs of tokens that go through the feed-forward one after another. */
  readonly tokens: number;
}

export const uncut: Cuts = { heads: 1, queries: 1, tokens: 1 };

const f32Bytes = 4;

/**
 * Of scores, which lie beside their softmax: more at once is no faster, and WebGPU promises no more. Of what is between
 * the feed-forward's layers on WebGPU: the runtime keeps buffers up to this size to use them again, and frees larger ones
 * only when the device has caught up, a whole step later.
 */
const mostAtOnceBytes = 2 ** 27;

/** A part has at least so many rows, whatever the limit: no device is so small. */
const leastRows = 64;

/**
 * @param tokens of the longest sequence
 * @param sequences that go through the feed-forward as one
 */
export function cutsFor(
  { device, attention, maxBufferBytes }: Target,
  { heads, hiddenDim }: TransformerConfig,
  tokens: number,
  sequences: number,
): Cuts {
  const most = maxBufferBytes ?? Number.POSITIVE_INFINITY;
  const between = device === "webgpu" ? Math.min(most, mostAtOnceBytes) : most;
  const feedForward = partsOf(sequences * tokens, f32Bytes * hiddenDim, between);
  if (attention === "fused") return { ...uncut, tokens: feedForward };
  const mostScores = Math.min(most, mostAtOnceBytes);
  const headsAtOnce = Math.max(1, Math.floor(mostScores / (f32Bytes * tokens ** 2)));
  return {
    heads: Math.ceil(heads / headsAtOnce),
    queries: partsOf(tokens, f32Bytes * tokens, mostScores),
    tokens: feedForward,
  };
}

function partsOf(rows: number, rowBytes: number, mostBytes: number): number {
  const atOnce = Math.max(leastRows, Math.floor(mostBytes / rowBytes));
  return Math.ceil(rows / Math.min(rows, atOnce));
}
