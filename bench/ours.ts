import { generateRequestSchema } from "../src/job/request.ts";
import { modelById } from "../src/models/registry.ts";
import { cpuTarget } from "../src/onnx/target.ts";
import { openComponents } from "../src/pipeline/components.ts";
import { generate } from "../src/pipeline/generate.ts";
import { Pipeline } from "../src/pipeline/pipeline.ts";

// One request in a process of its own: seconds per step, seconds in all, peak memory. Prints JSON.
// usage: ours.ts STORE MODEL SIZE STEPS GUIDANCE
const [store, model, size, steps, guidance] = process.argv.slice(2);
if (store === undefined || model === undefined)
  throw new Error("usage: ours.ts STORE MODEL SIZE STEPS GUIDANCE");

const request = generateRequestSchema.parse({
  prompt: "a red fox sits under a cherry blossom tree",
  width: Number(size),
  height: Number(size),
  steps: Number(steps),
  guidanceScale: Number(guidance),
  profile: "diffusers",
});
const startedAt = performance.now();
const stepEnds: number[] = [];
const components = await openComponents(store, modelById(model));
const pipeline = new Pipeline(components, {
  target: cpuTarget,
  textTarget: cpuTarget,
  keepOpen: false,
});
await generate(pipeline, request, { onStep: () => void stepEnds.push(performance.now()) });
const requestSeconds = (performance.now() - startedAt) / 1000;
// The first step also reads the weights from disk: the median of the others counts.
const steady = stepEnds.slice(1).map((end, i) => (end - stepEnds[i]!) / 1000);
const stepSeconds = steady.toSorted((a, b) => a - b)[Math.floor(steady.length / 2)];
// maxRSS counts mapped weight files too, which the system can drop at any time.
const peakMiB = process.resourceUsage().maxRSS / 1024;
process.stdout.write(`${JSON.stringify({ stepSeconds, requestSeconds, peakMiB })}\n`);
