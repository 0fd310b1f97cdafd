import { modelById } from "../src/models/registry.ts";
import { openComponents } from "../src/pipeline/components.ts";
import { composeAdapters } from "../src/pipeline/compose-adapters.ts";
import { Pipeline } from "../src/pipeline/pipeline.ts";
import { randn } from "../src/sampler/noise.ts";

// How long a change of LoRA takes, of a step's time. Prints JSON; text encoder and VAE stay out of it.
// usage: swap.ts STORE SIZE LORA LORA...
const [store, size, ...files] = process.argv.slice(2);
if (store === undefined || files.length < 2)
  throw new Error("usage: swap.ts STORE SIZE LORA LORA...");

const components = await openComponents(store, modelById("zimage_turbo"));
const pipeline = new Pipeline(components, { device: "cpu", compute: "f32", keepOpen: true });
const side = Number(size) / 8;
const captionDim = components.transformer.config.captionDim;
const promptEmbeds = [randn(1n, [17, captionDim]), randn(2n, [8, captionDim])];
const latents = randn(3n, [1, components.transformer.config.inChannels, side, side]);

/** Seconds until the first step can begin, and of two steps. */
async function run(file: string): Promise<{ swap: number; first: number; second: number }> {
  const startedAt = performance.now();
  const adapter = composeAdapters([{ lora: await pipeline.openLora(file), multiplier: 0.8 }]);
  const openedAt = performance.now();
  return pipeline.withTransformer(async (transformer) => {
    const timesteps = Float32Array.of(900, 800);
    const latentShape = latents.shape;
    const predict = await transformer.prepare({ promptEmbeds, timesteps, latentShape, adapter });
    const preparedAt = performance.now();
    await predict(latents, 0);
    const firstAt = performance.now();
    await predict(latents, 1);
    return {
      swap: (openedAt - startedAt) / 1000,
      prepare: (preparedAt - openedAt) / 1000,
      first: (firstAt - preparedAt) / 1000,
      second: (performance.now() - firstAt) / 1000,
    };
  });
}

const runs = [];
for (const file of files) runs.push(await run(file));
// What a swap costs is what is more than in a step with the LoRA that is there already.
const steady = runs.map(({ second }) => second).toSorted((a, b) => a - b)[0]!;
const [, ...swaps] = runs;
const costs = swaps.map(({ swap, first, second }) => swap + Math.max(0, first - second));
const swapSeconds = costs.toSorted((a, b) => a - b)[Math.floor(costs.length / 2)]!;
process.stdout.write(
  `${JSON.stringify({ stepSeconds: steady, swapSeconds, ofAStep: swapSeconds / steady, runs })}\n`,
);
