import { readFileSync, writeFileSync } from "node:fs";
import { generateRequestSchema } from "../src/job/request.ts";
import { modelById } from "../src/models/registry.ts";
import { chooseDevice } from "../src/onnx/choose-device.ts";
import { cpuTarget } from "../src/onnx/target.ts";
import { openComponents } from "../src/pipeline/components.ts";
import { weightBytes } from "../src/pipeline/fingerprint.ts";
import { generate } from "../src/pipeline/generate.ts";
import { holdWeights } from "../src/pipeline/hold-weights.ts";
import { Pipeline } from "../src/pipeline/pipeline.ts";
import { storageDeviceOf } from "../src/pipeline/weight-forms.ts";

// One request in a process of its own with a transformer in some storage. Prints JSON.
// usage: quantised-step.ts STORE SIZE STEPS CACHE FIRST-PREDICTION.f32 [FILE|f16|int8]
const [store, size, steps, cacheFolder, out, storage] = process.argv.slice(2);
if (store === undefined || cacheFolder === undefined || out === undefined) {
  throw new Error("usage: quantised-step.ts STORE SIZE STEPS CACHE OUT [FILE|f16|int8]");
}

/** Memory that the system can't take back: without mapped files. */
function ownMiB(): number {
  const [, kilobytes] = /RssAnon:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return Number(kilobytes) / 1024;
}

const request = generateRequestSchema.parse({
  prompt: "a red fox sits under a cherry blossom tree",
  width: Number(size),
  height: Number(size),
  steps: Number(steps),
  guidanceScale: 0,
  profile: "diffusers",
});
const openedAt = performance.now();
const held = (["f16", "int8"] as const).find((kind) => kind === storage);
const opened = await openComponents(store, modelById("zimage_turbo"), {
  cacheFolder,
  ...(storage === undefined || held !== undefined ? {} : { transformer: storage }),
});
const components =
  held !== undefined
    ? await holdWeights(opened, held, storageDeviceOf("cpu", (await chooseDevice("cpu")).facts), {
        cacheFolder,
      })
    : opened;
const openSeconds = (performance.now() - openedAt) / 1000;
const pipeline = new Pipeline(components, {
  target: cpuTarget,
  textTarget: cpuTarget,
  keepOpen: false,
});
const stepEnds: number[] = [];
const stepProcessor: number[] = [];
let peakOwnMiB = 0;
await generate(pipeline, request, {
  onStep: ({ step, noisePred }) => {
    stepEnds.push(performance.now());
    const { user, system } = process.cpuUsage();
    stepProcessor.push((user + system) / 1000);
    peakOwnMiB = Math.max(peakOwnMiB, ownMiB());
    if (step === 1) writeFileSync(out, new Uint8Array(noisePred.data.buffer));
  },
});
/** Of the fastest step: others on the machine can only make it slower. The first reads weights from disk. */
function shortestSeconds(ends: readonly number[]): number {
  return Math.min(...ends.slice(1).map((end, i) => (end - ends[i]!) / 1000));
}
const stepSeconds = shortestSeconds(stepEnds);
/** Of all cores together. */
const stepProcessorSeconds = shortestSeconds(stepProcessor);
const transformerMiB =
  (weightBytes(components) -
    [components.textEncoder, components.vae].reduce(
      (sum, { weights }) => sum + [...weights.values()].reduce((n, w) => n + w.byteLength, 0),
      0,
    )) /
  2 ** 20;
process.stdout.write(
  `${JSON.stringify({ stepSeconds, stepProcessorSeconds, openSeconds, transformerMiB, peakOwnMiB })}\n`,
);
