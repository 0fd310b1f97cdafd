import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as ort from "onnxruntime-node";
import { afterAll, expect, test } from "vitest";
import { z } from "zod";
import { modelById } from "../src/models/registry.ts";
import type { ElementType, WeightLookup } from "../src/onnx/graph.ts";
import { GraphBuilder } from "../src/onnx/graph.ts";
import { cpuTarget, targetFor } from "../src/onnx/target.ts";
import type { Components } from "../src/pipeline/components.ts";
import { openComponents } from "../src/pipeline/components.ts";
import type { ComputeDtype, Dtype } from "../src/tensor/dtype.ts";
import { uncut } from "../src/transformer/cuts.ts";
import { openHeld } from "./devices.ts";
import { goldenFolder } from "./golden.ts";
import type { Provider } from "./kernel-table.ts";
import { kernelTable, withoutKernels } from "./kernel-table.ts";
import type { OnnxModel } from "./onnx-model.ts";
import { readOnnxModel } from "./onnx-model.ts";
import { sessionGraphs } from "./session-graphs.ts";

// No session on CUDA or DirectML can be opened here. So each graph's operators, versions and types are
// held to the runtime's own list of kernels: a node without one would run on the CPU or end the session.

const cacheFolder = mkdtempSync(join(tmpdir(), "retake-kernels-"));
afterAll(() => rmSync(cacheFolder, { recursive: true }));

const store = join(goldenFolder, "tiny", "store");
const open = (options: object = {}) =>
  openComponents(store, modelById("zimage_turbo"), { cacheFolder, ...options });
const file = (name: string) => open({ transformer: join(goldenFolder, "quantised", name) });

/** As if every file were stored in a dtype: graphs depend on names, shapes and dtypes alone. */
async function storedAs(dtype: Dtype): Promise<Components> {
  const components = await open();
  const as = <Part extends { readonly lookup: WeightLookup }>(part: Part): Part => ({
    ...part,
    lookup: (name: string) => ({ ...part.lookup(name), dtype }),
  });
  const { textEncoder, transformer, vae } = components;
  return {
    ...components,
    textEncoder: as(textEncoder),
    transformer: as(transformer),
    vae: as(vae),
  };
}

const storages = {
  bf16: () => storedAs("BF16"),
  f16: () => storedAs("F16"),
  f32: () => storedAs("F32"),
  fp8: () => file("fp8-cast.safetensors"),
  "fp8, a scale for each row": () => file("fp8-rows.safetensors"),
  "fp8, a scale for each matrix": () => file("fp8-scaled.safetensors"),
  int8: () =>
    openHeld(
      store,
      modelById("zimage_turbo"),
      { device: "cuda", storage: "int8" },
      { cacheFolder },
    ),
  "GGUF in 4 and 8 bits": () => file("gguf/mixed.gguf"),
};

const checks: [Provider, ComputeDtype, keyof typeof storages][] = [];
for (const storage of Object.keys(storages) as (keyof typeof storages)[])
  for (const compute of ["bf16", "f32"] as const) checks.push(["cuda", compute, storage]);

const modelOf = (model: { readonly bytes: Uint8Array }) => readOnnxModel(model.bytes);

test.each(checks)(
  "%s has a kernel for every node in %s with weights in %s",
  async (device, compute, storage) => {
    const target = { ...(await targetFor(device)), compute };
    const graphs = sessionGraphs(await storages[storage](), target, uncut);
    for (const [name, graph] of Object.entries(graphs))
      expect.soft(withoutKernels(modelOf(graph), device), name).toEqual([]);
  },
);

test("the VAE computes in f32 since CUDA neither clips nor resizes in bf16", () => {
  const graph = new GraphBuilder("bf16", noWeights, { ...cpuTarget, device: "cuda" });
  const x = graph.input("x", "bf16", [1, 1, "h", "w"]);
  const large = graph.op("Resize", [x, "", graph.floats([1, 1, 2, 2])], { mode: "nearest" });
  const number = graph.input("number", "bf16", []);
  graph.output("y", "bf16", [1, 1, "H", "W"], graph.op("Clip", [large, number, number]));
  const missing = withoutKernels(modelOf(graph.finish()), "cuda");
  expect(missing.map((line) => /: (\w+) of opset/.exec(line)?.[1])).toEqual(["Resize", "Clip"]);
});

test("the table is of the runtime that is installed", () => {
  expect(kernelTable.runtime).toBe(ort.env.versions.node);
});

/** A graph for CUDA in bf16 of one operator with two inputs. */
function oneNode(operator: string, inputs: readonly ElementType[]): OnnxModel {
  const graph = new GraphBuilder("one node", noWeights, { ...cpuTarget, device: "cuda" });
  const values = inputs.map((type, i) => graph.input(`x.${i}`, type, ["n"]));
  graph.output("y", inputs[0]!, ["n"], graph.op(operator, values));
  return modelOf(graph.finish());
}
const noWeights: WeightLookup = (name) => {
  throw new RangeError(`a graph without weights asks for ${name}`);
};

test("the message says what the table has: no kernel in the type, no type for the result, no row", () => {
  expect(withoutKernels(oneNode("Clip", ["bf16", "bf16", "bf16"]), "cuda")).toEqual([
    'one node, Clip.0: Clip of opset 23 (bf16, bf16, bf16) -> bf16: cuda has {"T":"f16 f32 f64 i64 i8 u8"}',
  ]);
  expect(() => withoutKernels(oneNode("Blur", ["f32"]), "cuda")).toThrow(/what type Blur makes/);
  expect(withoutKernels(oneNode("BitwiseAnd", ["u8", "u8"]), "cuda")[0]).toMatch(
    /no kernel of any/,
  );
});

test("types that one operator takes together have to agree", () => {
  expect(withoutKernels(oneNode("Add", ["f32", "bf16"]), "cuda")).toHaveLength(1);
  expect(withoutKernels(oneNode("Add", ["bf16", "bf16"]), "cuda")).toEqual([]);
});

test("the runtime takes Identity out before it looks for kernels", async () => {
  const graph = new GraphBuilder("identity", noWeights, cpuTarget);
  const x = graph.input("x", "f32", ["n"]);
  graph.output("y", "f32", ["n"], graph.op("Add", [x, x]));
  const { bytes } = graph.finish();
  expect(readOnnxModel(bytes).nodes.map(({ operator }) => operator)).toEqual(["Add", "Identity"]);
  const session = await ort.InferenceSession.create(bytes, {
    enableProfiling: true,
    profileFilePrefix: join(cacheFolder, "profile"),
    logSeverityLevel: 3,
  });
  await session.run({ x: new ort.Tensor("float32", Float32Array.of(1), [1]) });
  session.endProfiling();
  await session.release();
  const [profile] = readdirSync(cacheFolder).filter((name) => name.startsWith("profile"));
  const events = z
    .array(z.object({ args: z.object({ op_name: z.string() }).partial().optional() }))
    .parse(JSON.parse(readFileSync(join(cacheFolder, profile!), "utf8")));
  const ran = new Set(events.map(({ args }) => args?.op_name).filter((name) => name !== undefined));
  expect(ran).toEqual(new Set(["Add"]));
});
