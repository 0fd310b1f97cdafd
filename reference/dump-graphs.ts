import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { modelById } from "../src/models/registry.ts";
import type { Target } from "../src/onnx/target.ts";
import { cpuTarget } from "../src/onnx/target.ts";
import { openComponents } from "../src/pipeline/components.ts";
import { buildEmbeddings } from "../src/text-encoder/graph.ts";
import type { Cuts } from "../src/transformer/cuts.ts";
import { uncut } from "../src/transformer/cuts.ts";
import { sessionGraphs, textEncoderGraph } from "../test/session-graphs.ts";

// Writes every graph as each kind of device takes it, for check_graphs.py. usage: dump-graphs.ts STORE OUT
const [store, out] = process.argv.slice(2);
if (store === undefined || out === undefined) throw new Error("usage: dump-graphs.ts STORE OUT");

const components = await openComponents(store, modelById("zimage_turbo"));
const cut: Cuts = { heads: 2, queries: 2, tokens: 2 };
/** The dtypes, and what else graphs differ in from device to device. */
const variants: Record<string, { target: Target; cuts: Cuts }> = {
  f32: { target: cpuTarget, cuts: uncut },
  bf16: { target: { ...cpuTarget, compute: "bf16" }, cuts: uncut },
  f16: { target: { ...cpuTarget, compute: "f16" }, cuts: uncut },
  plain: { target: { ...cpuTarget, attention: "plain" }, cuts: uncut },
  "plain-cut": { target: { ...cpuTarget, attention: "plain" }, cuts: cut },
  "opset-21": { target: { ...cpuTarget, attention: "plain", opset: 21 }, cuts: uncut },
};
mkdirSync(out, { recursive: true });
const { config, lookup } = components.textEncoder;
writeFileSync(join(out, "embeddings.f32.onnx"), buildEmbeddings(config, lookup).bytes);
for (const [variant, { target, cuts }] of Object.entries(variants)) {
  const graphs = {
    text_encoder: textEncoderGraph(components, target),
    ...sessionGraphs(components, target, cuts, "each kind too"),
  };
  for (const [name, { bytes }] of Object.entries(graphs))
    writeFileSync(join(out, `${name}.${variant}.onnx`), bytes);
}
