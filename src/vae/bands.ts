import { InputError } from "../errors.ts";
import type { Feeds, KeepingSession, KeptTensor, Session } from "../onnx/session.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { normEps } from "./norm-graph.ts";
import type { Stage } from "./stages.ts";

/** Rows of the picture, over its whole width. */
export interface Band {
  /** [1, channels, rows, width] */
  readonly tensor: KeptTensor;
  /** Each channel's mean and variance over the band. */
  readonly statistics: { readonly mean: Float32Array; readonly variance: Float32Array };
}

/** An activation in bands from top to bottom. */
export type Bands = readonly Band[];

/** How many rows of latents each band covers, from top to bottom: as even as can be. */
export function cutRows(height: number, most: number): number[] {
  const count = Math.ceil(height / most);
  return Array.from(
    { length: count },
    (_, i) => Math.floor(((i + 1) * height) / count) - Math.floor((i * height) / count),
  );
}

/** Fewer places in a band are slow to multiply with each other in the attention. */
const fewestPlaces = 512;

/**
 * How many rows of latents a band should have at most.
 *
 * @param width of the latents
 * @param wanted bytes of the largest tensor; a band of one row, or of a few places, may pass them
 * @param limit bytes that no tensor may pass
 * @throws InputError if one row passes the limit
 */
export function rowsPerBand(
  stages: readonly Stage[],
  width: number,
  wanted: number,
  limit: number,
): number {
  const allowed = rowsWithin(stages, width, limit);
  if (allowed < 1) {
    throw new InputError(
      `a picture of ${width * stages.at(-1)!.pixels} pixels' width needs larger buffers than the device takes ` +
        `(${limit} bytes). Use a smaller width, or --device cpu.`,
    );
  }
  const enough = Math.ceil(fewestPlaces / width);
  return Math.min(allowed, Math.max(enough, rowsWithin(stages, width, wanted)));
}

/** The most rows of latents in a band of which no tensor of any stage passes so many bytes. */
function rowsWithin(stages: readonly Stage[], width: number, bytes: number): number {
  // The attention's scores of a band of places by another.
  let most = Math.floor(Math.sqrt(bytes / 4) / width);
  for (const { pixels, entry, inChannels, outChannels } of stages) {
    const row = 4 * pixels * width;
    // The convolution reads a row above and one below; of a halo that is enlarged four rows come.
    const halo = entry === "enlarge" ? 4 : 2;
    const byInput = Math.floor((bytes / (row * inChannels) - halo) / pixels);
    const byOutput = Math.floor(bytes / (row * outChannels * pixels));
    most = Math.min(most, byInput, byOutput);
  }
  return most;
}

/** Mean and deviation of each channel's group over all bands, as the next norm takes them. */
export function normOver(bands: Bands, groups: number): { mean: Tensor; deviation: Tensor } {
  const channels = bands[0]!.statistics.mean.length;
  const perGroup = channels / groups;
  const rows = bands.map(({ tensor }) => tensor.shape[2]!);
  const height = rows.reduce((sum, count) => sum + count, 0);
  const mean = new Float32Array(channels);
  const deviation = new Float32Array(channels);
  for (let first = 0; first < channels; first += perGroup) {
    const over = (value: (band: Band, channel: number) => number) => {
      let sum = 0;
      for (const [i, band] of bands.entries())
        for (let c = first; c < first + perGroup; c++) sum += rows[i]! * value(band, c);
      return sum / (height * perGroup);
    };
    const center = over(({ statistics }, c) => statistics.mean[c]!);
    const variance = over(
      ({ statistics }, c) => statistics.variance[c]! + (statistics.mean[c]! - center) ** 2,
    );
    mean.fill(center, first, first + perGroup);
    deviation.fill(Math.sqrt(variance + normEps), first, first + perGroup);
  }
  const shape = [1, channels, 1, 1];
  return { mean: { data: mean, shape }, deviation: { data: deviation, shape } };
}

/**
 * Runs a stage over all bands. Bands of `x` go as soon as nothing needs them, those of `residual`
 * once they are added; with `keep`, x stays.
 */
export async function runStage(
  session: KeepingSession<"y" | "shortcut">,
  stage: Stage,
  groups: number,
  x: Bands,
  { residual, keep }: { residual: Bands | undefined; keep: boolean },
): Promise<{ y: Bands; shortcut: Bands }> {
  const y: Band[] = [];
  const shortcut: Band[] = [];
  for (const { feeds, index } of inTurn(stage, groups, x, keep)) {
    const added = residual?.[index]?.tensor;
    const { kept, results } = await session.run(
      added === undefined ? feeds : { ...feeds, residual: added },
    );
    added?.dispose();
    const statistics = statisticsIn(results);
    y.push({ tensor: kept.y, statistics });
    if (kept.shortcut !== undefined) shortcut.push({ tensor: kept.shortcut, statistics });
  }
  return { y, shortcut };
}

/** Runs the last stage: bands of rows to a picture [3, height, width] in memory. */
export async function runLastStage(
  session: Session,
  stage: Stage,
  groups: number,
  x: Bands,
): Promise<Tensor> {
  const parts: Tensor[] = [];
  for (const { feeds } of inTurn(stage, groups, x, false)) {
    const { y } = await session.run(feeds);
    parts.push(y!);
  }
  return joinRows(parts);
}

/** A stage's inputs for each band; bands that no later one needs go between them, unless `keep`. */
function* inTurn(
  { norm }: Stage,
  groups: number,
  x: Bands,
  keep: boolean,
): Generator<{ feeds: Feeds; index: number }> {
  const moments = norm === undefined ? {} : normOver(x, groups);
  for (const [index, { tensor }] of x.entries()) {
    const above = x[index - 1]?.tensor;
    const below = x[index + 1]?.tensor;
    const feeds = {
      x: tensor,
      above: above ?? tensor,
      below: below ?? tensor,
      has_above: flag(above !== undefined),
      has_below: flag(below !== undefined),
      ...moments,
    };
    yield { feeds, index };
    if (keep) continue;
    above?.dispose();
    if (below === undefined) tensor.dispose();
  }
}

export function statisticsIn({ y_mean, y_variance }: Record<string, Tensor>): Band["statistics"] {
  return { mean: y_mean!.data, variance: y_variance!.data };
}

/** [1, channels, rows, width] from top to bottom to [channels, height, width]. */
export function joinRows(parts: readonly Tensor[]): Tensor {
  const [, channels, , width] = parts[0]!.shape as [number, number, number, number];
  const height = parts.reduce((sum, { shape }) => sum + shape[2]!, 0);
  const data = new Float32Array(channels * height * width);
  let top = 0;
  for (const { data: part, shape } of parts) {
    const size = shape[2]! * width;
    for (let c = 0; c < channels; c++)
      data.set(part.subarray(c * size, (c + 1) * size), (c * height + top) * width);
    top += shape[2]!;
  }
  return { data, shape: [channels, height, width] };
}

/** Rows of [1, channels, height, width], `counts` of them at a time. */
export function splitRows({ data, shape }: Tensor, counts: readonly number[]): Tensor[] {
  const [, channels, height, width] = shape as [number, number, number, number];
  let top = 0;
  return counts.map((rows) => {
    const part = new Float32Array(channels * rows * width);
    for (let c = 0; c < channels; c++) {
      const start = (c * height + top) * width;
      part.set(data.subarray(start, start + rows * width), c * rows * width);
    }
    top += rows;
    return { data: part, shape: [1, channels, rows, width] };
  });
}

function flag(value: boolean): Tensor {
  return { data: Float32Array.of(value ? 1 : 0), shape: [1] };
}
