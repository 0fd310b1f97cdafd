import { readdirSync } from "node:fs";
import { join } from "node:path";
import { generateRequestSchema } from "../src/job/request.ts";
import { modelById } from "../src/models/registry.ts";
import { cpuTarget } from "../src/onnx/target.ts";
import { generate } from "../src/pipeline/generate.ts";
import { Pipeline } from "../src/pipeline/pipeline.ts";
import { goldenFolder } from "./golden.ts";
import type { TestRun } from "./held.ts";
import { f32Target, openHeld } from "./held.ts";

// A process that makes one picture after another, each with another LoRA than the one before, and
// prints the last one's latents and its memory on the way.
// usage: node --expose-gc swap-loras.ts SWAPS LAST-LORA DEVICE STORAGE
const [swaps, last, device, storage] = process.argv.slice(2);
const folder = join(goldenFolder, "loras", "files");
const all = [null, ...readdirSync(folder)];
/** On the same modules, and of few kinds: a change among them is a change of values. */
const common = ["ai-toolkit", "diffsynth", "lokr", "diffsynth-prefix", "dora"];
const run = { device, storage } as TestRun;
const pipeline = new Pipeline(
  await openHeld(join(goldenFolder, "tiny", "store"), modelById("zimage_turbo"), run),
  { target: await f32Target(run.device), textTarget: cpuTarget, keepOpen: true },
);

async function picture(lora: string | null | undefined): Promise<Float32Array> {
  const defaults = generateRequestSchema.parse({ prompt: "a fox" });
  const loras = typeof lora === "string" ? [{ path: join(folder, lora), multiplier: 0.7 }] : [];
  let latents = new Float32Array();
  await generate(
    pipeline,
    { ...defaults, steps: 1, guidanceScale: 0, width: 32, height: 32, loras },
    {
      onStep: (progress) => {
        latents = progress.latents.data;
      },
    },
  );
  return latents;
}

const megabytes: number[] = [];
for (let i = 0; i < Number(swaps); i++) {
  // Every tenth of them is of any format: it builds its graphs, and ousts others'.
  const [tenth, rest] = [Math.floor(i / 10), i % 10];
  const file = `${common[i % common.length]}.safetensors`;
  await picture(rest === 0 ? all[tenth % all.length] : file);
  if ((i + 1) % (Number(swaps) / 5) !== 0) continue;
  globalThis.gc?.();
  megabytes.push(process.memoryUsage().rss / 2 ** 20);
}
const latents = Array.from(await picture(last));
await pipeline.release();
process.stdout.write(JSON.stringify({ megabytes, latents }));
