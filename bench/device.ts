import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Device } from "../src/config/model-options.ts";
import { modelById } from "../src/models/registry.ts";
import { chooseDevice } from "../src/onnx/choose-device.ts";
import { countFedBytes } from "../src/onnx/fed-bytes.ts";
import { cpuTarget, targetFor } from "../src/onnx/target.ts";
import { openComponents } from "../src/pipeline/components.ts";
import { bytesOf } from "../src/pipeline/fingerprint.ts";
import { holdWeights } from "../src/pipeline/hold-weights.ts";
import { Pipeline } from "../src/pipeline/pipeline.ts";
import type { HeldStorage } from "../src/pipeline/weight-forms.ts";
import { storageDeviceOf } from "../src/pipeline/weight-forms.ts";
import { encodePrompt } from "../src/prompt/encode-prompt.ts";
import { randn } from "../src/sampler/noise.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import type { AdapterModule, AdapterModules } from "../src/transformer/adapter.ts";
import { graphOf } from "../src/transformer/weight-shapes.ts";
import { memoryNow, watchMemory } from "./memory-peaks.ts";
import type { Profiled } from "./profile.ts";
import { profileSessionsWith } from "./profile.ts";

// What crosses to a device in each step, what runs beside it on the CPU, and how much memory both take after
// LoRAs of several structures. Prints JSON.
// usage: device.ts STORE [--device webgpu] [--storage int8] [--size 128] [--steps 2] [--structures 0,1,2,5]
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: "string", default: "webgpu" },
    storage: { type: "string", default: "int8" },
    size: { type: "string", default: "128" },
    steps: { type: "string", default: "2" },
    structures: { type: "string", default: "0,1,2,5" },
    cache: { type: "string", default: join(tmpdir(), "retake-bench") },
  },
});
const [store] = positionals;
if (store === undefined) throw new Error("usage: device.ts STORE [--device …] [--storage …]");
const rank = 16;

const fed = countFedBytes();
const profilesOfSteps = profileSessionsWith("patches");
const memory = watchMemory();
const device = values.device as Device;
const target = await targetFor(device);
const options = { cacheFolder: values.cache };
const components = await holdWeights(
  await openComponents(store, modelById("zimage_turbo"), options),
  values.storage as HeldStorage,
  storageDeviceOf(device, (await chooseDevice(device)).facts),
  options,
);
const pipeline = new Pipeline(components, { target, textTarget: cpuTarget, keepOpen: false });
const { config, weights } = components.transformer;
const weightBytes = [...weights.values()].reduce((sum, span) => sum + bytesOf(span), 0);

const { inputIds } = encodePrompt(components.tokenizer, "a red fox under a cherry tree");
const promptEmbeds = await pipeline.encode([inputIds]);
const textEncoderPeakMiB = memory.takePeaks();

const side = Number(values.size) / 8;
const latents = randn(3n, [1, config.inChannels, side, side]);
const timesteps = Float32Array.from({ length: Number(values.steps) }, (_, i) => 900 - i);
const modules = [...weights]
  .filter(
    ([name, { shape }]) =>
      name.endsWith(".weight") && shape.length === 2 && graphOf(name) === "step",
  )
  .map(([name, { shape }]) => ({ name: name.slice(0, -".weight".length), shape }));

/** A LoRA on a share of the step graph's matrices: another share is another structure. */
function loraOn(share: number): AdapterModules {
  const own = modules.filter((_, i) => i % (share + 1) === 0);
  return new Map(own.map(({ name, shape }) => [name, moduleOf(shape[0]!, shape[1]!)]));
}

function moduleOf(outDim: number, inDim: number): AdapterModule {
  const filled = (shape: number[]): Tensor => ({
    data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(1e-3),
    shape,
  });
  const lora = {
    loraA: filled([rank, inDim]),
    loraB: filled([outDim, rank]),
    scale: filled([rank]),
    bias: null,
  };
  return { lora, lokr: [], loha: [], full: [], norm: null, bias: null, rowScale: null };
}

function loraBytes(adapter: AdapterModules): number {
  const pairs = [...adapter.values()].flatMap(({ lora }) => lora ?? []);
  return pairs.reduce(
    (sum, { loraA, loraB }) => sum + loraA.data.byteLength + loraB.data.byteLength,
    0,
  );
}

const requests: unknown[] = [];
let steps: Profiled[] = [];
await pipeline.withTransformer(async (transformer) => {
  const wanted = values.structures.split(",").map(Number);
  for (let structures = 0; structures <= Math.max(...wanted); structures++) {
    fed();
    const adapter = structures === 0 ? new Map() : loraOn(structures);
    const startedAt = performance.now();
    const conditions = { promptEmbeds, timesteps, latentShape: latents.shape, adapter };
    const predict = await transformer.prepare(conditions);
    const fedBytes = [fed()];
    const seconds = [(performance.now() - startedAt) / 1000];
    for (let step = 0; step < timesteps.length; step++) {
      const stepAt = performance.now();
      await predict(latents, step);
      fedBytes.push(fed());
      seconds.push((performance.now() - stepAt) / 1000);
    }
    const [prepared, first, ...later] = fedBytes;
    if (!wanted.includes(structures)) continue;
    requests.push({
      loraStructuresSoFar: structures,
      loraBytes: loraBytes(adapter),
      bytesUntilFirstStepEnds: prepared! + first!,
      bytesInEachLaterStep: later,
      seconds: seconds.map((value) => Number(value.toFixed(2))),
      memoryMiB: memoryNow(),
      peakMiB: memory.takePeaks(),
    });
  }
  steps = profilesOfSteps();
});
await pipeline.release();
await memory.end();
const result = {
  device: values.device,
  storage: values.storage,
  size: Number(values.size),
  weightBytes,
  textEncoderPeakMiB,
  requests,
  steps,
  afterReleaseMiB: memoryNow(),
};
process.stdout.write(`${JSON.stringify(result, null, 1)}\n`);
