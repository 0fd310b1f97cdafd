import { mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import type { WeightSpan } from "../src/onnx/graph.ts";
import { GraphBuilder } from "../src/onnx/graph.ts";
import { linear } from "../src/onnx/linear.ts";
import { openSession } from "../src/onnx/session.ts";
import { cpuTarget } from "../src/onnx/target.ts";
import type { Dtype } from "../src/tensor/dtype.ts";
import { dtypeBytes } from "../src/tensor/dtype.ts";
import { sizeOf } from "../src/tensor/tensor.ts";

// One linear layer of the real width, [rows, 3840] by [10240, 3840], in each storage: GFLOP/s.
// usage: linear.ts [ROWS] [ROUNDS]

const rows = Number(process.argv[2] ?? 1088);
const rounds = Number(process.argv[3] ?? 8);
const [outDim, inDim] = [10240, 3840];
const folder = mkdtempSync(join(tmpdir(), "retake-linear-"));
const file = join(folder, "weights");
const descriptor = openSync(file, "w");
let end = 0;

/** Any numbers that are no NaN: time doesn't depend on them. */
function written(dtype: Dtype, shape: readonly number[], byte: number): WeightSpan {
  const byteLength = sizeOf(shape) * dtypeBytes[dtype];
  writeSync(descriptor, new Uint8Array(byteLength).fill(byte), 0, byteLength, end);
  const span = { dtype, shape, file, offset: end, byteLength };
  end += byteLength;
  return span;
}

function inBlocks(bits: 4 | 8, size: number, hasOffsets: boolean): WeightSpan {
  const table = [outDim, inDim / size];
  const codes = written("U8", [outDim, (inDim * bits) / 8], 0x35);
  const scales = written("F32", table, 0x3c);
  const offsets = hasOffsets ? { offsets: written("F32", table, 0x3c) } : {};
  return {
    ...codes,
    shape: [outDim, inDim],
    blocks: { bits, size, scales, ...offsets, parts: 1, turn: 1 },
  };
}

const plain = (dtype: Dtype) => written(dtype, [outDim, inDim], 0x3c);
const storages: Record<string, () => WeightSpan> = {
  f32: () => plain("F32"),
  bf16: () => plain("BF16"),
  "fp8 e4m3": () => plain("F8_E4M3"),
  "fp8 e5m2": () => plain("F8_E5M2"),
  "fp8 e4m3 scaled": () => ({ ...plain("F8_E4M3"), scale: written("F32", [], 0x3c) }),
  "8 bits, blocks of 32 (Q8_0, Q5_0, int8)": () => inBlocks(8, 32, false),
  "8 bits, blocks of 16 (Q6_K)": () => inBlocks(8, 16, false),
  "8 bits, blocks of 32, offsets (Q5_K)": () => inBlocks(8, 32, true),
  "4 bits, blocks of 32 (Q4_0)": () => inBlocks(4, 32, false),
  "4 bits, blocks of 32, offsets (Q4_K)": () => inBlocks(4, 32, true),
};

try {
  const x = { data: new Float32Array(rows * inDim).fill(0.5), shape: [rows, inDim] };
  const layers = new Map<string, { run: () => Promise<unknown>; best: number }>();
  for (const [name, make] of Object.entries(storages)) {
    const span = make();
    const graph = new GraphBuilder("linear", () => span, cpuTarget);
    const input = graph.input("x", "f32", ["rows", inDim]);
    const y = linear({ graph }, input, "layer", { bias: false });
    graph.output("y", "f32", ["rows", outDim], y);
    const session = await openSession(graph.finish(), cpuTarget);
    layers.set(name, { run: () => session.run({ x }), best: Number.POSITIVE_INFINITY });
  }
  // In turns, and the fastest of each: others on the machine slow all of them down alike.
  for (let round = 0; round < rounds; round++) {
    for (const layer of layers.values()) {
      const startedAt = performance.now();
      await layer.run();
      layer.best = Math.min(layer.best, performance.now() - startedAt);
    }
  }
  const results: Record<string, number> = {};
  for (const [name, { best }] of layers) {
    results[name] = Math.round((2 * rows * outDim * inDim) / best / 1e6);
    process.stdout.write(`${name}: ${results[name]} GFLOP/s\n`);
  }
  const machine = { cpu: cpus()[0]?.model.trim(), cores: cpus().length, node: process.version };
  process.stdout.write(`${JSON.stringify({ machine, rows, gigaflops: results })}\n`);
} finally {
  rmSync(folder, { recursive: true });
}
