import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as ort from "onnxruntime-node";
import { afterAll, describe, expect, test } from "vitest";
import { z } from "zod";
import type { Device } from "../src/config/model-options.ts";
import { modelById } from "../src/models/registry.ts";
import type { Model } from "../src/onnx/graph.ts";
import { GraphBuilder, noWeights } from "../src/onnx/graph.ts";
import type { ElementType } from "../src/onnx/model-proto.ts";
import { cpuTarget, untestedTarget } from "../src/onnx/target.ts";
import type { Components } from "../src/pipeline/components.ts";
import { openComponents } from "../src/pipeline/components.ts";
import { holdWeights } from "../src/pipeline/hold-weights.ts";
import type { StorageDevice } from "../src/pipeline/weight-forms.ts";
import { reads } from "../src/pipeline/weight-forms.ts";
import type { Cuts } from "../src/transformer/cuts.ts";
import { uncut } from "../src/transformer/cuts.ts";
import { goldenFolder } from "./golden.ts";
import { elementTypes, kernelTable, withoutKernels } from "./kernel-table.ts";
import type { OnnxModel } from "./onnx-model.ts";
import { readOnnxModel } from "./onnx-model.ts";
import { sessionGraphs, textEncoderGraph, vaeGraphs } from "./session-graphs.ts";

// No session on CUDA or DirectML can be opened here. So each graph's operators, versions and types are
// held to the runtime's own list of kernels: a node without one would run on the CPU or end the session.

const cacheFolder = mkdtempSync(join(tmpdir(), "retake-kernels-"));
afterAll(() => rmSync(cacheFolder, { recursive: true }));

const turbo = modelById("zimage_turbo");
const tiny = join(goldenFolder, "tiny", "store");
const file = (name: string) => ({
  cacheFolder,
  transformer: join(goldenFolder, "quantised", name),
});

/** A model as files have it. */
const files: Readonly<Record<string, () => Promise<Components>>> = {
  bf16: () => openComponents(join(goldenFolder, "exact", "store"), turbo),
  f32: () => openComponents(tiny, turbo),
  fp8: () => openComponents(tiny, turbo, file("fp8-cast.safetensors")),
  "fp8, a scale for each row": () => openComponents(tiny, turbo, file("fp8-rows.safetensors")),
  "fp8, a scale for each matrix": () => openComponents(tiny, turbo, file("fp8-scaled.safetensors")),
  "GGUF of 4 to 8 bits": () => openComponents(tiny, turbo, file("gguf/mixed.gguf")),
};
const storages = ["original", "f32", "f16", "int8"] as const;
const computes = { cuda: ["bf16", "f32"], dml: ["f16", "f32"] } as const;

const canHold = (device: Device): StorageDevice => ({
  device,
  memoryBytes: null,
  hasF16: true,
  maxBufferBytes: null,
});

/** As if the device's memory were small: heads and tokens in several parts. */
const cut: Cuts = { heads: 2, queries: 2, tokens: 2 };

const checks = (["cuda", "dml"] as const).flatMap((device) =>
  computes[device].flatMap((compute) =>
    Object.keys(files).map((stored) => ({ device, compute, stored })),
  ),
);

describe.each(checks)("$device has a kernel for every node in $compute", (check) => {
  const { device, compute, stored } = check;
  const missing = (graphs: Readonly<Record<string, Model>>) =>
    Object.entries(graphs).flatMap(([name, graph]) =>
      withoutKernels(modelOf(graph), device).map((line) => `${name}: ${line}`),
    );

  test.each(storages)(`${stored} held as %s`, async (storage) => {
    const target = { ...untestedTarget(device), compute };
    const held = await holdWeights(await files[stored]!(), storage, canHold(device), {
      cacheFolder,
    });
    const isOriginal = storage === "original";
    const which = isOriginal ? "each kind too" : "none and all";
    const graphs = sessionGraphs(held, target, uncut, which);
    expect(missing(graphs)).toEqual([]);
    if (isOriginal) {
      const attention = target.attention === "plain" ? "fused" : "plain";
      const other = sessionGraphs(held, { ...target, attention }, cut, "none and all");
      expect(missing(other).filter((line) => !isSlowOnly(line))).toEqual([]);
    }
    const spans = [...held.textEncoder.weights.values()];
    if (spans.every(({ dtype }) => reads(canHold(device), dtype)))
      expect(missing({ text_encoder: textEncoderGraph(held, target) })).toEqual([]);
  });
});

test.each(Object.keys(files))(
  "no graph for WebGPU has a number that it lacks: %s",
  async (stored) => {
    const target = untestedTarget("webgpu");
    const opened = await files[stored]!();
    for (const storage of storages) {
      const held = await holdWeights(opened, storage, canHold("webgpu"), { cacheFolder });
      const graphs = sessionGraphs(held, target, uncut, "none and all");
      const types = Object.values(graphs).flatMap((graph) => [...elementTypes(modelOf(graph))]);
      expect(new Set(types).difference(new Set(["f32", "f16", "u8", "i64"])), storage).toEqual(
        new Set(),
      );
    }
  },
);

/**
 * CUDA has no kernel of this operator's last definition. Only a card whose fused attention fails its
 * self-test would come to it, in the VAE, and run it on the CPU.
 */
function isSlowOnly(line: string): boolean {
  return /vae_attend, \S+ ReduceMax of opset 23 .*cuda has no kernel/.test(line);
}

const modelOf = (model: { readonly bytes: Uint8Array }) => readOnnxModel(model.bytes);

test("without its decision for f32 the VAE has nodes without kernels on CUDA", async () => {
  const inBf16 = vaeGraphs(await openComponents(tiny, turbo), untestedTarget("cuda"));
  const lines = Object.values(inBf16).flatMap((graph) => withoutKernels(modelOf(graph), "cuda"));
  expect(lines).not.toEqual([]);
});

test("CUDA neither enlarges nor clips in bf16", () => {
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
