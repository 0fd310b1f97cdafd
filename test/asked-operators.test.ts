import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { modelById } from "../src/models/registry.ts";
import type { Model } from "../src/onnx/graph.ts";
import { knownAnswers } from "../src/onnx/known-answers.ts";
import { attentionAnswers } from "../src/onnx/known-layers.ts";
import { questionGraph } from "../src/onnx/self-test.ts";
import { untestedTarget } from "../src/onnx/target.ts";
import { openComponents } from "../src/pipeline/components.ts";
import { holdWeights } from "../src/pipeline/hold-weights.ts";
import { uncut } from "../src/transformer/cuts.ts";
import { goldenFolder } from "./golden.ts";
import { withoutKernels } from "./kernel-table.ts";
import { readOnnxModel } from "./onnx-model.ts";
import { sessionGraphs, vaeGraphs } from "./session-graphs.ts";

const cacheFolder = mkdtempSync(join(tmpdir(), "retake-asked-"));
afterAll(() => rmSync(cacheFolder, { recursive: true }));

/** They compute no value: names, and shapes, which are whole numbers in the host's memory. */
const shapesOnly = ["Identity", "Reshape", "Shape", "Unsqueeze", "Squeeze"];

const operatorsOf = (graphs: Iterable<Model>) =>
  new Set(
    [...graphs].flatMap(({ bytes }) => readOnnxModel(bytes).nodes.map(({ operator }) => operator)),
  );

test.each(["webgpu", "dml", "cuda"] as const)(
  "on %s the self-test asks for every operator of the graphs",
  async (device) => {
    const target = untestedTarget(device);
    const asked = [...knownAnswers, ...attentionAnswers([32, 1, 64])];
    const known = operatorsOf([questionGraph(asked, target)]);
    for (const file of [undefined, "gguf/mixed.gguf"]) {
      const opened = await openComponents(
        join(goldenFolder, "tiny/store"),
        modelById("zimage_turbo"),
        {
          cacheFolder,
          ...(file === undefined ? {} : { transformer: join(goldenFolder, "quantised", file) }),
        },
      );
      const has = { device, memoryBytes: null, hasF16: true, maxBufferBytes: null };
      const components = await holdWeights(opened, "original", has, { cacheFolder });
      const graphs = [
        sessionGraphs(components, target, uncut, "each kind too"),
        vaeGraphs(components, target),
      ];
      const used = operatorsOf(graphs.flatMap((named) => Object.values(named)));
      expect(used.difference(known).difference(new Set(shapesOnly))).toEqual(new Set());
    }
  },
);

test.each([
  ["cuda", "bf16"],
  ["cuda", "f32"],
  ["dml", "f32"],
] as const)(
  "%s has a kernel in %s for what the self-test asks: it is refused for wrong numbers alone",
  (device, compute) => {
    const graph = questionGraph(knownAnswers, { ...untestedTarget(device), compute });
    const missing = withoutKernels(readOnnxModel(graph.bytes), device);
    // CUDA has none of this in any type: the CPU computes it in f32, which is right too.
    expect(missing.filter((line) => !/ReduceMax of opset 23 \(f32/.test(line))).toEqual([]);
  },
);
