import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { modelById } from "../src/models/registry.ts";
import type { Target } from "../src/onnx/target.ts";
import { cpuTarget } from "../src/onnx/target.ts";
import { openComponents } from "../src/pipeline/components.ts";
import { buildTextEncoder } from "../src/text-encoder/graph.ts";
import type { AdapterShape } from "../src/transformer/adapter.ts";
import { buildCaptionGraph } from "../src/transformer/caption-graph.ts";
import { buildModulationGraph } from "../src/transformer/modulation-graph.ts";
import { buildStepGraph } from "../src/transformer/step-graph.ts";
import { adaptableModules } from "../src/transformer/weight-shapes.ts";
import { buildVaeDecoder } from "../src/vae/graph.ts";

// Writes every graph in every compute dtype, for check_graphs.py. usage: dump-graphs.ts STORE OUT
const [store, out] = process.argv.slice(2);
if (store === undefined || out === undefined) throw new Error("usage: dump-graphs.ts STORE OUT");

const { textEncoder, transformer, vae } = await openComponents(store, modelById("zimage_turbo"));
const none: ReadonlyMap<string, AdapterShape> = new Map();
const everything: AdapterShape = {
  lora: true,
  lokr: [
    { factors: 1, cut: true, rowScale: true },
    { factors: 2, cut: false, rowScale: false },
  ],
  loha: 1,
  full: 1,
  norm: false,
  bias: true,
  rowScale: true,
};
const norm: AdapterShape = {
  lora: false,
  lokr: [],
  loha: 0,
  full: 0,
  norm: true,
  bias: false,
  rowScale: false,
};
const all = new Map(
  [...adaptableModules(transformer.config)].map(([name, { inDim }]) => [
    name,
    inDim === null ? norm : everything,
  ]),
);
mkdirSync(out, { recursive: true });
for (const compute of ["f32", "bf16", "f16"] as const) {
  const target: Target = { ...cpuTarget, compute };
  const graphs = {
    text_encoder: buildTextEncoder(textEncoder.config, textEncoder.lookup, target),
    caption: buildCaptionGraph(transformer.config, transformer.lookup, target, none),
    modulation: buildModulationGraph(transformer.config, transformer.lookup, target, none),
    caption_adapted: buildCaptionGraph(transformer.config, transformer.lookup, target, all),
    modulation_adapted: buildModulationGraph(transformer.config, transformer.lookup, target, all),
    step_1: buildStepGraph(transformer.config, transformer.lookup, target, none, 1),
    step_2: buildStepGraph(transformer.config, transformer.lookup, target, none, 2),
    step_2_adapted: buildStepGraph(transformer.config, transformer.lookup, target, all, 2),
    vae_decoder: buildVaeDecoder(vae.config, vae.lookup, target),
  };
  for (const [name, { bytes }] of Object.entries(graphs)) {
    writeFileSync(join(out, `${name}.${compute}.onnx`), bytes);
  }
}
