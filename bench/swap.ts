import { modelById } from "../src/models/registry.ts";
import { cpuTarget } from "../src/onnx/target.ts";
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
const pipeline = new Pipeline(components, {
  target: cpuTarget,
  textTarget: cpuTarget,
  keepOpen: true,
});
const side = Number(size) / 8;
const captionDim = components.transformer.config.captionDim;
const promptEmbeds = [randn(1n, [17, captionDim]), randn(2n, [8, captionDim])];
const latents = randn(3n, [1, components.transformer.config.inChannels, side, side]);

/** Seconds from a request's begin to the end of its first step. */
async function run(file: string): Promise<number> {
  const startedAt = performance.now();
  const { loras } = await pipeline.openLoras([file]);
  const adapter = composeAdapters(loras.map((lora) => ({ lora, multiplier: 0.8 })));
  await pipeline.withTransformer(async (transformer) => {
    const timesteps = Float32Array.of(900);
    const latentShape = latents.shape;
    const predict = await transformer.prepare({ promptEmbeds, timesteps, latentShape, adapter });
    await predict(latents, 0);
  });
  return (performance.now() - startedAt) / 1000;
}

const median = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;

// The first run of all opens sessions and reads weights from disk: it counts for nothing.
await run(files[0]!);
const swapped: number[] = [];
const stayed: number[] = [];
for (const file of files.slice(1)) {
  swapped.push(await run(file));
  // Two more with the same LoRA: what a step takes without a swap, and how much that varies.
  stayed.push(await run(file), await run(file));
}
const stepSeconds = median(stayed);
const swapSeconds = median(swapped) - stepSeconds;
process.stdout.write(
  `${JSON.stringify({ stepSeconds, swapSeconds, ofAStep: swapSeconds / stepSeconds, swapped, stayed })}\n`,
);
