import { GraphBuilder } from "../onnx/graph.ts";
import { linear } from "../onnx/linear.ts";
import { openSession } from "../onnx/session.ts";
import type { Target } from "../onnx/target.ts";
import { patchSize } from "../transformer/config.ts";
import { blockMatrices, graphOf } from "../transformer/weight-shapes.ts";
import type { Components } from "./components.ts";
import type { Effective } from "./parameters.ts";

/** Caption tokens of a prompt of usual length. */
const usualCaption = 64;
/** Rows of the product that is timed: enough for its usual speed. */
const mostRows = 512;
/** What is over sooner is not worth the timing: multiplications and additions of all steps. */
const shortWork = 2e12;

/**
 * About how long all steps take, in seconds: one of the model's own products, timed here, times how many
 * such there are. Null for a short run, which nothing is timed for.
 */
export async function estimateSeconds(
  { transformer: { config, lookup }, vae }: Pick<Components, "transformer" | "vae">,
  { width, height, steps, guidanceWeight }: Effective,
  target: Target,
): Promise<number | null> {
  const pixelsPerToken = (vae.config.scaleFactor * patchSize) ** 2;
  const tokens = (width * height) / pixelsPerToken + usualCaption;
  const captions = guidanceWeight === 0 ? 1 : 2;
  const matrices = blockMatrices(config).filter((name) => graphOf(name) === "step");
  const elements = matrices.reduce((sum, name) => {
    const [outDim, inDim] = lookup(name).shape as [number, number];
    return sum + outDim * inDim;
  }, 0);
  const attention = 4 * tokens ** 2 * config.dim * config.layers;
  const work = steps * captions * (2 * tokens * elements + attention);
  const timed = matrices.at(-1);
  if (timed === undefined || work < shortWork) return null;

  const rows = Math.min(mostRows, Math.ceil(tokens));
  const [outDim, inDim] = lookup(timed).shape as [number, number];
  const mapped: Target = { ...target, weights: "mapped" };
  const graph = new GraphBuilder("timed", lookup, mapped);
  const x = graph.input("x", "f32", [rows, inDim]);
  const name = timed.replace(/\.weight$/, "");
  graph.output("y", "f32", [rows, outDim], linear({ graph }, x, name, { bias: false }));
  const session = await openSession(graph.finish(), mapped);
  try {
    const feeds = { x: { data: new Float32Array(rows * inDim).fill(1), shape: [rows, inDim] } };
    // The first run reads the matrix from disk.
    await session.run(feeds);
    const startedAt = performance.now();
    await session.run(feeds);
    const seconds = (performance.now() - startedAt) / 1000;
    return (work / (2 * rows * outDim * inDim)) * seconds;
  } finally {
    await session.release();
  }
}
