import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { modelById } from "../src/models/registry.ts";
import { cpuTarget } from "../src/onnx/target.ts";
import { openComponents } from "../src/pipeline/components.ts";
import { sessionGraphs } from "../test/session-graphs.ts";

// Writes every graph in every compute dtype, for check_graphs.py. usage: dump-graphs.ts STORE OUT
const [store, out] = process.argv.slice(2);
if (store === undefined || out === undefined) throw new Error("usage: dump-graphs.ts STORE OUT");

const components = await openComponents(store, modelById("zimage_turbo"));
mkdirSync(out, { recursive: true });
for (const compute of ["f32", "bf16", "f16"] as const) {
  for (const [name, { bytes }] of Object.entries(
    sessionGraphs(components, { ...cpuTarget, compute }),
  ))
    writeFileSync(join(out, `${name}.${compute}.onnx`), bytes);
}
